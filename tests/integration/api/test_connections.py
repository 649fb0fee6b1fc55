"""Connections as unusual clients use them, and as none should."""

import json
import socket
import time
from contextlib import suppress

import httpx
import pytest

from api import wires

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = json.dumps({"prompt": "p", "image_url": "https://example.com/a.png"}).encode()
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def _exchange(base: str, *pieces: bytes) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", httpx.URL(base).port or 0), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _submission(*headers: str, authorization: str = "Authorization: Key id:secret") -> bytes:
    lines = [f"POST {ENDPOINT} HTTP/1.1", "Host: a", authorization, *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(INPUT)}", "", ""]).encode()


@pytest.mark.parametrize(
    "offer",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Upgrade: TLS/1.2", "Connection: upgrade"),
    ],
)
def test_an_offer_to_change_the_protocol_is_declined_and_nothing_is_lost(base: str, offer: tuple[str, ...]) -> None:
    head = _submission(*offer)

    for pieces in ([head + INPUT + head + INPUT + HEALTH], [head[:40], head[40:], INPUT[:9], INPUT[9:], HEALTH]):
        received = _exchange(base, *pieces)
        assert received.count(b"HTTP/1.1 200 ") == received.count(b"HTTP/1.1 ") == (3 if len(pieces) == 1 else 2)
        assert received.count(b'"status": "IN_QUEUE"') == received.count(b"HTTP/1.1 ") - 1


def test_a_head_without_an_end_is_refused(base: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(base).port or 0), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Long: ")
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 16_384)
            raise AssertionError("it would have taken any length")


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", b""), (b"\r\n", b""), (b"GET /health HTTP/1.1\r\nX-Long: ", b" 408 "), (b"PO", b" 408 ")],
)
def test_a_head_that_does_not_come_is_not_waited_for(
    base: str, monkeypatch: pytest.MonkeyPatch, sent: bytes, answered: bytes
) -> None:
    monkeypatch.setattr(wires, "_HEAD_S", 0.3)
    assert _exchange(base, sent)[8:13] == answered
    with socket.create_connection(("127.0.0.1", httpx.URL(base).port or 0), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(sent or b"\n")
        assert connection.recv(65536)[8:13] == answered


def test_a_call_that_takes_its_time_is_not_taken_for_a_late_head(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_HEAD_S", 0.2)
    receipt = client.post(ENDPOINT, content=INPUT).json()
    with client.stream("GET", receipt["status_url"] + "/stream") as stream:
        comments = [line for _, line in zip(range(12), stream.iter_lines(), strict=False) if line.startswith(":")]
    assert len(comments) >= 3  # 0.2 seconds between two


@pytest.mark.parametrize("path", [ENDPOINT, "/files/upload"])
def test_two_keys_are_no_key(base: str, path: str) -> None:
    keys = ["Authorization: Key id:secret", "Authorization: Key other:secret"]
    for given in (keys, keys[::-1]):
        call = _submission(*given[1:], authorization=given[0]).replace(ENDPOINT.encode(), path.encode(), 1)
        received = _exchange(base, call + INPUT, HEALTH)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert b'"error_type": "bad_request"' in received


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n"


def _submission_in_chunks(*trailer: bytes, authorization: bytes = b"Authorization: Key id:secret\r\n") -> bytes:
    head = f"POST {ENDPOINT} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n".encode() + authorization + CHUNKED
    lines = b"".join(line + b"\r\n" for line in trailer)
    return head + b"%x;why=none\r\n" % len(INPUT) + INPUT + b"\r\n" + LAST + lines + b"\r\n"


def test_what_follows_a_body_changes_nothing_of_the_call(base: str) -> None:
    stranger = _submission_in_chunks(b"Authorization: Key id:secret", authorization=b"")
    friend = _submission_in_chunks(
        b"Authorization: Key a:stranger",
        b"Host: elsewhere.example",
        b"X-Fal-Request-Timeout: nonsense",
        b"X-Fal-Object-Lifecycle-Preference: nonsense",
        b"Connection: upgrade",
        b"Upgrade: h2c",
    )

    for pieces in ([stranger + friend + HEALTH], [stranger, friend[:-40], friend[-40:-3], friend[-3:], HEALTH]):
        answers = _exchange(base, *pieces).split(b"HTTP/1.1 ")[1:]
        assert [answer[:4] for answer in answers] == [b"401 ", b"200 ", b"200 "]
        assert b'"status_url": "http://a/' in answers[1]


def _stream(client: httpx.Client) -> bytes:
    """The head of a call that is answered for as long as its request waits."""
    path = httpx.URL(client.post(ENDPOINT, content=INPUT).json()["status_url"]).path
    return f"GET {path}/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Key id:secret\r\n".encode()


@pytest.fixture(params=["nowhere", "submission", "stream"])
def unread(request: pytest.FixtureRequest, client: httpx.Client) -> bytes:
    """Calls whose answer is there before the body ends, does not come before, and begins but does not end."""
    heads = {
        "nowhere": lambda: b"PUT /nowhere HTTP/1.1\r\nHost: a\r\n",
        "submission": lambda: f"POST {ENDPOINT} HTTP/1.1\r\nHost: a\r\nAuthorization: Key id:secret\r\n".encode(),
        "stream": lambda: _stream(client),
    }
    return heads[request.param]() + CHUNKED


@pytest.mark.parametrize("line", [b"a: b\r\n" * 3000, b"b" * 18_000], ids=["many", "long"])
def test_a_trailer_without_an_end_is_refused(base: str, unread: bytes, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(base).port or 0), timeout=10) as connection:
        connection.sendall(unread + LAST + b"X-Long: ")
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(line)
            raise AssertionError("it would have taken any length")


def test_a_trailer_that_does_not_come_on_is_not_waited_for(
    base: str, unread: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_HEAD_S", 1.0)

    received = _exchange(base, unread, LAST + b"a: ")

    assert received.count(b"HTTP/1.1 ") == 1, "two answers to one call"
    if unread.startswith(b"POST"):
        assert received.startswith(b"HTTP/1.1 408 ")
    elif unread.startswith(b"GET"):
        assert b"text/event-stream" in received


def test_a_body_that_takes_its_time_is_not_taken_for_a_late_trailer(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_HEAD_S", 1.5)
    url = httpx.URL(str(client.base_url))
    with socket.create_connection((url.host, url.port or 0), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"POST /files/upload HTTP/1.1\r\nHost: a\r\nAuthorization: Key id:secret\r\n" + CHUNKED)
        connection.sendall(b"4\r\n")
        connection.sendall(b"ab")
        time.sleep(2.0)  # in the middle of a chunk, longer than a trailer may take
        connection.sendall(b"cd\r\n4\r\nefgh\r\n" + LAST + b"a: b\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    link = json.loads(answer.partition(b"\r\n\r\n")[2])["access_url"]
    assert client.get(httpx.URL(link).path).content == b"abcdefgh"


def test_who_takes_nothing_of_an_answer_is_hung_up_on(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "_TAKING_S", 0.3)
    content = bytes(24 * 1024 * 1024)  # more than the system keeps on the way
    url = httpx.URL(client.post("/files/upload", content=content).raise_for_status().json()["access_url"])
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect((url.host, url.port or 0))
        connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        deadline = time.monotonic() + 20
        while 'method="GET",route="serve"' not in client.get("/metrics").text:
            assert time.monotonic() < deadline, "it would have been waited for forever"
        received = 0
        with suppress(ConnectionError):
            while taken := len(connection.recv(65536)):
                received += taken
    assert received < len(content)
    assert client.get(str(url)).content == content


def test_many_calls_at_once_are_no_long_head(base: str) -> None:
    call = _submission() + INPUT

    received = _exchange(base, call * 1000, HEALTH)

    assert received.count(b"HTTP/1.1 200 ") == received.count(b"HTTP/1.1 ") == 1001


def test_this_is_no_tunnel(base: str) -> None:
    for target in (b"queue.fal.run:443", b"/"):
        received = _exchange(base, b"CONNECT " + target + b" HTTP/1.1\r\nHost: queue.fal.run\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (f"http://queue.example:81{ENDPOINT}", "queue.example:81"),
        (f"HTTPS://Queue.Example{ENDPOINT}?fal_webhook=http://a/", "Queue.Example"),
        (f"http://[::1]:81{ENDPOINT}", "[::1]:81"),
        (ENDPOINT, "a"),
    ],
)
@pytest.mark.parametrize("offer", [(), ("Connection: Upgrade", "Upgrade: h2c")], ids=["", "with an offer"])
def test_an_address_in_full_counts_and_its_host(base: str, address: str, host: str, offer: tuple[str, ...]) -> None:
    call = _submission(*offer).replace(ENDPOINT.encode(), address.encode(), 1)

    received = _exchange(base, call + INPUT, HEALTH)

    assert received.count(b"HTTP/1.1 200 ") == 2
    assert f'"status_url": "http://{host}/fal-ai/kolors/requests/'.encode() in received


def _get(base: str, target: str, host: str) -> tuple[bytes, bytes]:
    """(status, body) of a call of one's own."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Authorization: Key id:secret", "Connection: close", "", ""]
    head, _, body = _exchange(base, "\r\n".join(lines).encode()).partition(b"\r\n\r\n")
    return head[9:12], body


def test_the_host_of_an_address_in_full_chooses_the_origin(base: str) -> None:
    path = "/fal-ai/kolors/requests/0198e951-c778-7120-9c82-16efcf40ec82"
    in_the_queue, nowhere = b'{"status":"NOT_FOUND"}', b'{"detail": "Path /requests/'
    for target, host, answer in (
        (path, "a", in_the_queue),
        (path, "fal.run", nowhere),
        (f"http://fal.run{path}", "a", nowhere),
        (f"http://a{path}", "fal.run", in_the_queue),
    ):
        status, body = _get(base, target, host)
        assert (status, body[: len(answer)]) == (b"404", answer)
    assert _get(base, "http://a", "fal.run") == _get(base, "/", "a")
    assert _get(base, f"http://a{path}", "b\r\nHost: c")[0] == b"400"


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "fal.run:80",
        "http:///x",
        "http://",
        "ftp://a/x",
        "mailto:x",
        "?x",
        "#x",
        "x",
        "http://u@a/x",
        "http://a:x/",
    ],
)
@pytest.mark.parametrize("host", ["a", "fal.run"])
def test_a_target_that_is_no_address_is_refused(base: str, target: str, host: str) -> None:
    status, body = _get(base, target, host)
    assert status == b"400"
    assert b'"error_type": "bad_request"' in body


@pytest.mark.parametrize(
    "call",
    [b"\x16\x03\x01\x02\x00", b"POST / HTTP/1.1\r\nContent-Length: none\r\n\r\n", b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http_is_refused_like_anything_else(base: str, call: bytes) -> None:
    head, _, body = _exchange(base, call).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error_type"] == "bad_request"
    for name in (
        b"x-fal-request-id",
        b"x-fal-error-type",
        b"access-control-allow-origin",
        b"content-type: application/json",
    ):
        assert name in head.lower()


def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(client: httpx.Client, base: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(base).port or 0), timeout=10) as connection:
        head = f"POST {ENDPOINT} HTTP/1.1\r\nHost: a\r\nAuthorization: Key id:secret\r\nContent-Length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    deadline = time.monotonic() + 10
    while 'route="submit"' not in (told := client.get("/metrics").text):
        assert time.monotonic() < deadline
    assert 'kolors_http_seconds_count{method="POST",route="submit",status="499"} 1.0' in told
    assert 'status="500"' not in told
