"""The rest of the internet, as far as these tests need it: pages to fetch pictures from, and a webhook's receiver."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from tests.acceptance.harness.waiting import until


@dataclass(frozen=True)
class Page:
    """One answer. Without a content_length the body is sent in chunks until its end."""

    body: Iterable[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Post:
    """One call of a webhook, its body as it came."""

    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """Listens on a loopback port of its own. Each page and each hook has a path that was never used before."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._pages: dict[str, Page] = {}
        self._answers: dict[str, list[int]] = {}
        self._posts: dict[str, list[Post]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, body: bytes, content_type: str = "image/png", *, name: str = "") -> str:
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        return self.publish(Page([body], headers=headers), name=name)

    def redirect(self, target: str) -> str:
        return self.publish(Page([], 302, {"Location": target, "Content-Length": "0"}))

    def publish(self, page: Page, *, name: str = "") -> str:
        path = f"/pages/{next(self._numbers)}{name}"
        self._pages[path] = page
        return f"http://{self.address}{path}"

    def hook(self, *statuses: int) -> str:
        """A webhook's address that answers with these codes in turn, and with 200 after them."""
        path = f"/hooks/{next(self._numbers)}"
        self._answers[path] = list(statuses)
        self._posts[path] = []
        return f"http://{self.address}{path}"

    def posts(self, hook: str) -> list[Post]:
        with self._lock:
            return list(self._posts[hook.removeprefix(f"http://{self.address}")])

    def await_posts(self, hook: str, number: int = 1, *, within_s: float = 20) -> list[Post]:
        def enough() -> list[Post] | None:
            posts = self.posts(hook)
            return posts if len(posts) >= number else None

        return until(enough, within_s=within_s, what=f"{number} calls of the webhook")

    def find(self, path: str) -> Page:
        return self._pages.get(path.partition("?")[0], Page([b"nothing here"], 404, {"Content-Length": "12"}))

    def take(self, path: str, post: Post) -> int:
        with self._lock:
            if path not in self._posts:
                return 404
            self._posts[path].append(post)
            answers = self._answers[path]
            return answers.pop(0) if answers else 200


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = receiver.find(self.path)
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            chunked = "Content-Length" not in page.headers
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for chunk in page.body:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if chunked else chunk)
                if chunked:
                    self.wfile.write(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(self.path, Post(headers, body)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Silent: the tests say what they saw."""

    return Handler
