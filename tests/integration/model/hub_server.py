"""A model hub on the loopback, as far as the hub's own client looks: one repository, made of a directory's files."""

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """`closed_to_strangers` repositories want a token; `fetched` are the files that were handed out."""

    daemon_threads = True

    def __init__(self, repository: str, directory: Path, *, closed_to_strangers: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.files = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
        self.closed_to_strangers = closed_to_strangers
        self.fetched: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        return

    def _answer(self) -> None:
        hub, path = self.server, urlsplit(self.path).path
        asked = path.removeprefix("/api/models/").removeprefix("/")
        if not asked.startswith(f"{hub.repository}/"):
            self._refuse(404, "RepoNotFound")
            return
        verb, _, rest = asked.removeprefix(f"{hub.repository}/").partition("/")
        revision, _, name = rest.partition("/")
        if hub.closed_to_strangers and "Authorization" not in self.headers:
            self._refuse(401, "GatedRepo")
        elif revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif verb == "revision":
            self._json({"id": hub.repository, "sha": COMMIT, "siblings": []})
        elif verb == "tree":
            self._json([{"type": "file", "path": it, "size": self._size(it), "oid": _oid(it)} for it in hub.files])
        else:
            self._file(name)

    def _file(self, name: str) -> None:
        content = self.server.files[name].read_bytes()
        if self.command == "GET":
            self.server.fetched.add(name)
        self._send(200, content, {"ETag": f'"{_oid(name)}"', "X-Repo-Commit": COMMIT})

    def _size(self, name: str) -> int:
        return self.server.files[name].stat().st_size

    def _json(self, answer: object) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _oid(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


@contextmanager
def open_hub(repository: str, directory: Path, *, closed_to_strangers: bool = False) -> Generator[FakeHub]:
    hub = FakeHub(repository, directory, closed_to_strangers=closed_to_strangers)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
