"""Getting a picture from real servers: friendly, broken and hostile ones."""

import gzip
import logging
import socket
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from shared.egress import Allow, Blocked, Fetched, FetchFailed, TooLarge, fetch, post
from tests.integration.egress.web import Answer, WebServer, says

NOBODY = Allow()
LIMIT = 100_000


def _fetch(url: str, allow: Allow, timeout_s: float = 10) -> Fetched:
    return fetch(url, max_bytes=LIMIT, timeout_s=timeout_s, allow=allow)


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """In the place of a name server that we own."""

    resolve: Callable[..., list[Any]] = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host in addresses:
            return resolve(host, port, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def allow(web: WebServer) -> Allow:
    return Allow.parse(web.address)


def test_a_picture_is_fetched(web: WebServer, allow: Allow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web.answers["/a b.png"] = web.answers["/a%20b.png"] = says(200, b"picture", content_type="Image/PNG; x=y")

    fetched = _fetch(f"{web.url}/a b.png?q=1", allow)

    assert fetched == Fetched(b"picture", "image/png", f"{web.url}/a%20b.png?q=1")
    (method, path, headers, _) = web.calls[0]
    assert (method, path, headers["host"]) == ("GET", "/a%20b.png?q=1", web.address)
    assert headers["user-agent"].startswith("kolors-queue")
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & set(headers)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "１２７.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "224.0.0.1",
    ],
)
def test_nobody_reaches_this_machine_by_any_name(web: WebServer, host: str) -> None:
    with pytest.raises(Blocked):
        _fetch(f"http://{host}:{web.port}/", NOBODY)

    assert web.connections == 0


def test_an_odd_port_of_a_public_host_is_refused() -> None:
    with pytest.raises(Blocked, match="Port 22"):
        _fetch("http://1.1.1.1:22/", NOBODY)


def test_a_name_with_one_private_address_is_refused(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, "1.1.1.1", "127.0.0.1")

    with pytest.raises(Blocked):
        _fetch(f"http://rebinding.test:{web.port}/", NOBODY)


def test_a_name_is_resolved_once(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def counting(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    web.answers["/"] = says(200, b"x")

    _fetch(f"http://localhost:{web.port}/", Allow.parse("localhost"))

    assert asked.count("localhost") == 1


def test_the_next_address_is_tried(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, "127.9.9.9", "127.0.0.1")
    web.answers["/"] = says(200, b"x")

    assert _fetch(f"http://two.test:{web.port}/", Allow.parse("two.test")).content == b"x"


def test_a_redirect_is_checked_again(web: WebServer, other: WebServer, allow: Allow) -> None:
    web.answers["/"] = says(302, location=f"{other.url}/secret")

    with pytest.raises(Blocked):
        _fetch(web.url, allow)

    assert other.connections == 0


def test_five_redirects_are_followed_and_no_more(web: WebServer, allow: Allow) -> None:
    for number in range(7):
        web.answers[f"/{number}"] = says((301, 302, 303, 307, 308)[number % 5], location=f"{number + 1}")
    web.answers["/7"] = says(200, b"there")

    assert _fetch(f"{web.url}/2", allow) == Fetched(b"there", "", f"{web.url}/7")
    with pytest.raises(FetchFailed, match="more than 5"):
        _fetch(f"{web.url}/1", allow)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 404, 500, 302])
def test_anything_but_a_200_is_a_failure(web: WebServer, allow: Allow, status: int) -> None:
    web.answers["/"] = says(status)

    with pytest.raises(FetchFailed) as caught:
        _fetch(web.url, allow)

    assert caught.value.status == status


def test_an_announced_giant_is_not_read(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = says(200, content_length=str(LIMIT + 1))

    with pytest.raises(TooLarge):
        _fetch(web.url, allow)


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b"x" * 10_000)


def _bomb(handler: BaseHTTPRequestHandler) -> None:
    says(200, gzip.compress(b"\0" * 50_000_000), content_encoding="gzip")(handler)


@pytest.mark.parametrize("answer", [_endless, _bomb])
def test_an_unannounced_giant_is_dropped(web: WebServer, allow: Allow, answer: Answer) -> None:
    web.answers["/"] = answer

    with pytest.raises(TooLarge):
        _fetch(web.url, allow)


def test_exactly_the_limit_is_fine(web: WebServer, allow: Allow) -> None:
    web.answers["/plain"] = says(200, b"x" * LIMIT)
    web.answers["/zipped"] = says(200, gzip.compress(b"x" * LIMIT), content_encoding="gzip")
    web.answers["/deflated"] = says(200, zlib.compress(b"x" * LIMIT), content_encoding="Deflate")

    for path in ("plain", "zipped", "deflated"):
        assert _fetch(f"{web.url}/{path}", allow).content == b"x" * LIMIT


def _says_ssh(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")


def _says_nothing(handler: BaseHTTPRequestHandler) -> None:
    pass


@pytest.mark.parametrize(
    "answer",
    [
        says(200, b"not gzip", content_encoding="gzip"),
        says(200, gzip.compress(b"x" * 1000)[:-20], content_encoding="gzip"),
        says(200, b"??", content_encoding="br"),
        says(200, b"short", content_length="1000"),
        _says_ssh,
        _says_nothing,
    ],
)
def test_a_broken_answer_is_a_failure(web: WebServer, allow: Allow, answer: Answer) -> None:
    web.answers["/"] = answer

    with pytest.raises(FetchFailed):
        _fetch(web.url, allow)


def test_a_server_that_drips_is_left(web: WebServer, allow: Allow) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.stopping.wait(0.05):
            handler.wfile.write(b"x")

    web.answers["/"] = drip
    began = time.monotonic()

    with pytest.raises(FetchFailed, match="in time"):
        _fetch(web.url, allow, timeout_s=0.6)

    assert time.monotonic() - began < 5


def test_a_server_that_says_nothing_is_left(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = web.hang

    with pytest.raises(FetchFailed, match="in time"):
        _fetch(web.url, allow, timeout_s=0.4)


def test_nobody_there_is_a_failure(web: WebServer, allow: Allow) -> None:
    web.close()

    with pytest.raises(FetchFailed):
        _fetch(web.url, allow)


def _get(url: str) -> object:
    return _fetch(url, NOBODY)


def _post(url: str) -> object:
    return post(url, b"{}", {}, timeout_s=10, allow=NOBODY)


@pytest.mark.parametrize("call", [_get, _post])
def test_a_name_inside_sounds_like_one_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: Callable[[str], object]
) -> None:
    """Or else strangers could ask for the names of our network. The operator is told which it was."""
    resolve: Callable[..., list[Any]] = socket.getaddrinfo

    def answer(host: str, *args: Any, **options: Any) -> list[Any]:
        return resolve("127.0.0.1" if host == "redis" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    caplog.set_level(logging.INFO, "shared.egress")
    hosts = ("redis", "nobody.invalid", "10.0.0.1", "x" * 64)
    said: set[tuple[type[Exception], str]] = set()
    for host in hosts:
        with pytest.raises((Blocked, FetchFailed)) as caught:
            call(f"http://{host}/")
        said.add((caught.type, str(caught.value).replace(host, "HOST")))
    assert said == {(Blocked, "HOST leads to no address on the public internet")}
    logged = [record.getMessage() for record in caplog.records if record.name == "shared.egress.network"]
    assert [line.split(" ", 1)[0] for line in logged] == list(hosts)
    assert "127.0.0.1 is private" in logged[0]
    assert "private" not in logged[1]
