"""Delivering a webhook to real servers."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from shared.egress import Allow, Blocked, FetchFailed, post
from shared.files.base import StoreUnavailable
from tests.integration.egress.web import WebServer, says

HEADERS = {"Content-Type": "application/json", "X-Fal-Webhook-Request-Id": "0199"}


@pytest.fixture
def allow(web: WebServer) -> Allow:
    return Allow.parse(web.address)


def test_the_body_arrives_as_it_is(web: WebServer, allow: Allow) -> None:
    web.answers["/hook"] = says(200, b"ok")
    body = b'{"a": "\xc3\xa4"}'

    assert post(f"{web.url}/hook?x=1", body, HEADERS, timeout_s=5, allow=allow) == 200

    method, path, headers, received = web.calls[0]
    assert (method, path, received) == ("POST", "/hook?x=1", body)
    assert headers["content-type"] == "application/json"
    assert headers["x-fal-webhook-request-id"] == "0199"
    assert headers["content-length"] == str(len(body))


def test_a_body_in_pieces_arrives_as_it_is(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = says(200)
    pieces = [b'{"a": "', b"", b"x" * 300_000, b'"}']
    body = b"".join(pieces)

    headers = {**HEADERS, "Content-Length": str(len(body))}
    assert post(web.url, iter(pieces), headers, timeout_s=5, allow=allow) == 200

    [(_, _, got, received)] = web.calls
    assert (got["content-length"], received) == (str(len(body)), body)
    assert "transfer-encoding" not in got


def test_what_goes_wrong_with_a_piece_is_said_as_it_is(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = says(200)

    def pieces() -> Iterator[bytes]:
        yield b"{"
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        post(web.url, pieces(), {**HEADERS, "Content-Length": "2"}, timeout_s=5, allow=allow)


@pytest.mark.parametrize("status", [200, 204, 400, 404, 410, 429, 500, 503])
def test_the_status_is_told(web: WebServer, allow: Allow, status: int) -> None:
    web.answers["/"] = says(status)

    assert post(web.url, b"{}", HEADERS, timeout_s=5, allow=allow) == status


def test_a_redirect_is_not_followed(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = says(307, location=f"{web.url}/elsewhere")

    assert post(web.url, b"{}", HEADERS, timeout_s=5, allow=allow) == 307
    assert len(web.calls) == 1


def test_an_endless_answer_is_an_answer(web: WebServer, allow: Allow) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.stopping.is_set():
            handler.wfile.write(b"x" * 10_000)

    web.answers["/"] = endless

    assert post(web.url, b"{}", HEADERS, timeout_s=5, allow=allow) == 200


def test_an_answer_that_stops_half_way_is_an_answer(web: WebServer, allow: Allow) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100")
        handler.end_headers()
        web.stopping.wait(30)

    web.answers["/"] = hang

    assert post(web.url, b"{}", HEADERS, timeout_s=0.5, allow=allow) == 200


def test_a_receiver_that_says_nothing_is_a_failure(web: WebServer, allow: Allow) -> None:
    web.answers["/"] = web.hang

    with pytest.raises(FetchFailed):
        post(web.url, b"{}", HEADERS, timeout_s=0.4, allow=allow)


def test_a_private_receiver_is_blocked(web: WebServer) -> None:
    for url in (web.url, f"http://localhost:{web.port}/", "http://169.254.169.254/latest", "file:///etc/passwd"):
        with pytest.raises(Blocked):
            post(url, b"{}", HEADERS, timeout_s=5, allow=Allow())

    assert web.connections == 0


def test_headers_cannot_be_smuggled(web: WebServer, allow: Allow) -> None:
    with pytest.raises(FetchFailed):
        post(web.url, b"{}", {"X-A": "b\r\nX-Injected: yes"}, timeout_s=5, allow=allow)

    assert not web.calls
