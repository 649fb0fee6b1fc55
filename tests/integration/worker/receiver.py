"""A receiver of webhooks and a server of pictures on the loopback: real HTTP, answers as told."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Call:
    path: str
    headers: dict[str, str]
    body: bytes


def fine(_: Call) -> Answer:
    return 200, {}, b"thanks"


@dataclass
class Receiver:
    """`answer` decides for each call; every call is in `calls` as soon as it has arrived."""

    url: str = ""
    answer: Callable[[Call], Answer] = fine
    calls: "SimpleQueue[Call]" = field(default_factory=SimpleQueue[Call])

    def next(self) -> Call:
        return self.calls.get(timeout=40)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that has hung up is no news."""


@contextmanager
def receiver() -> Generator[Receiver]:
    it = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            call = Call(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            it.calls.put(call)
            status, headers, content = it.answer(call)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET = _answer

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
            return

    server = _Server(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
