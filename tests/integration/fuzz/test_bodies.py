"""Bodies, headers, queries and addresses that nobody would write: each is answered, and as a caller can read it."""

import json
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.fuzz.shape import check

ENDPOINT = "/fal-ai/kolors/image-to-image"
REQUEST = "/fal-ai/kolors/requests/0198e951-c778-7120-9c82-16efcf40ec82"
GRANT = "/files/uploads/00000000000000000000000000000000/a.png"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
FEW = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

TARGETS = st.sampled_from([
    ("OPTIONS", ENDPOINT), ("POST", ENDPOINT), ("POST", f"/run{ENDPOINT}"), ("POST", "/storage/upload/initiate"),
    ("POST", "/storage/auth/token"), ("POST", "/storage/upload/initiate-multipart"),
    ("POST", "/files/upload"), ("POST", "/files/upload/multipart"),
    ("PUT", f"{GRANT}?grant=x"), ("PUT", f"{GRANT}/1"), ("POST", f"{GRANT}/complete"), ("PUT", f"{REQUEST}/cancel"),
    ("POST", f"{GRANT}/multipart/x/complete"), ("PUT", f"{GRANT}/multipart/x/1"),
])  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**30, 1e308, "1_0", "\u0663", "nan", "data:", "data:,", "http://",
                       "data:image/png;base64,QQ==", "http://[", "https://\ud800", "//", "\x00", "a" * 9000])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
FIELDS = st.sampled_from([
    "prompt", "image_url", "negative_prompt", "guidance_scale", "num_inference_steps", "strength", "seed", "num_images",
    "image_size", "scheduler", "output_format", "sync_mode", "enable_safety_checker", "parts", "file_name",
    "content_type", "__proto__", "",
])  # fmt: skip
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "latin-1"])
HEADERS = st.sampled_from([
    "x-fal-request-timeout", "x-total-timeout", "x-fal-queue-priority", "x-fal-object-lifecycle-preference", "range",
    "x-fal-object-lifecycle", "x-fal-store-io", "x-fal-no-retry", "idempotency-key", "last-event-id", "x-fal-file-name",
    "content-type", "authorization", "x-fal-target-url", "x-forwarded-host", "x-forwarded-proto", "if-none-match",
    "host", "origin", "access-control-request-headers", "accept", "expect", "content-encoding",
])  # fmt: skip
ODD = st.sampled_from([
    b"1_0", b"inf", b"nan", b"-1", b"0", b"9" * 400, b"\xff\xfe", "\u0663".encode(), b"{}", b'{"a":NaN}', b"[" * 3000,
    b'{"expiration_duration_seconds":1e999}', b'{"expiration_duration_seconds":"9"}', b"bytes=0-", b"bytes=-1", b"../a",
    b"https://fal.run/x", b"https://queue.fal.run" + ENDPOINT.encode(), b"a\tb", b"", b"\x80", b"Key ", b"Key \xff",
    b"Bearer kolors-upload.e30.x", b"Key kolors-upload.", b"%0d%0aX: y", b"fal.run.", b"[::1]:99999", b"0-0", b"a-b",
    b"18446744073709551616-0",
])  # fmt: skip
HEADER_VALUES = ODD | st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\0"))
WORDS = """
    fal-ai kolors image-to-image requests run files storage upload initiate complete multipart tokens api proxy metrics
    health openapi.json status stream cancel response 0198e951-c778-7120-9c82-16efcf40ec82 1 . .. // ~ * ; \\ # %
    %2e%2e %00 %0d%0aX-Evil:1 %ff %2f %u0041 %e2%80%ae ?grant=%00 ?fal_webhook=javascript:1 ?logs=%ff
    ?fal_max_queue_length=1_0 ?fal_webhook=http://a%0d%0aX:1
"""
SEGMENTS = st.lists(st.sampled_from(["", "a" * 3000, *WORDS.split()]), max_size=7)


FORMS = st.sampled_from([
    "*", "http://a", "http://fal.run", "HTTP://fal.run:99999", "https://rest.fal.ai/storage/upload/initiate",
    "ftp://a/b", "http://a?b", "http://u@a/", "http:///", "http://[::1]", "http://[", "a:80", "fal.run:443", "?", "#",
    "a", "//", "*/x",
])  # fmt: skip


def _sent(fuzzed: httpx.Client, method: str, url: str, **more: Any) -> None:
    answer = fuzzed.request(method, url, **more)
    check(answer.status_code, answer.headers, answer.content, method)


@FEW
@given(TARGETS, st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(("POST", ENDPOINT), b"[" * 100_000)
@example(("POST", ENDPOINT), b'{"a":' * 100_000)
@example(("POST", f"{GRANT}/complete"), b"[" * 100_000)
@example(("POST", ENDPOINT), b"9" * 100_000)
@example(("POST", ENDPOINT), b'"' + b"\\ud800" * 9_000 + b'"')
@example(("POST", ENDPOINT), b"\xef\xbb\xbf")
def test_any_bytes(fuzzed: httpx.Client, target: tuple[str, str], body: bytes) -> None:
    _sent(fuzzed, *target, content=body)


@FEW
@given(TARGETS, st.dictionaries(FIELDS, VALUES, max_size=5), ENCODINGS, st.booleans())
def test_any_object(
    fuzzed: httpx.Client, target: tuple[str, str], fields: dict[str, Any], encoding: str, escaped: bool
) -> None:
    text = json.dumps({**INPUT, **fields}, ensure_ascii=escaped)
    _sent(fuzzed, *target, content=text.encode(encoding, "replace" if encoding != "utf-8" else "surrogatepass"))


@FEW
@given(TARGETS, st.dictionaries(HEADERS, HEADER_VALUES, max_size=3))
def test_any_headers(fuzzed: httpx.Client, target: tuple[str, str], headers: dict[str, bytes]) -> None:
    headers.setdefault("authorization", b"Key id:secret")
    _raw(fuzzed, target[0], target[1], headers, json.dumps(INPUT).encode())


@FEW
@given(st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]), SEGMENTS)
def test_any_address(fuzzed: httpx.Client, method: str, segments: list[str]) -> None:
    _raw(fuzzed, method, "/" + "/".join(segments), {"authorization": b"Key id:secret"}, b"")


@FEW
@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "OPTIONS", "CONNECT"]),
    FORMS,
    SEGMENTS,
    st.sampled_from([b"a", b"fal.run", b"queue.fal.run", b"v3.fal.media", b"", b"*"]),
)
@example("GET", "*", [], b"fal.run")
def test_any_form_of_target(fuzzed: httpx.Client, method: str, form: str, segments: list[str], host: bytes) -> None:
    _raw(fuzzed, method, "/".join([form, *segments]), {"host": host, "authorization": b"Key id:secret"}, b"")


@FEW
@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from([b"", b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"]),
)
@example(
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n"
)
@example(b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", b"POST / HTTP/1.1\r\n")
@example(b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", b"POST / HTTP/1.1\r\n")
def test_any_noise(fuzzed: httpx.Client, noise: bytes, before: bytes) -> None:
    with _connected(fuzzed) as connection, suppress(ConnectionError):
        connection.sendall(before + noise)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert not received or received.startswith(b"HTTP/1.1 ")
        assert b"HTTP/1.1 5" not in received


def _connected(fuzzed: httpx.Client) -> socket.socket:
    return socket.create_connection((fuzzed.base_url.host, cast("int", fuzzed.base_url.port)), timeout=30)


def _raw(fuzzed: httpx.Client, method: str, path: str, headers: dict[str, bytes], body: bytes) -> None:
    """Past a client that would mend what is sent."""
    head = [f"{method} {path} HTTP/1.1".encode(), *(name.encode() + b": " + value for name, value in headers.items())]
    head += [] if "host" in headers else [b"Host: a"]
    with _connected(fuzzed) as connection:
        connection.sendall(b"\r\n".join([*head, b"Connection: close", b"Content-Length: %d" % len(body), b"", body]))
        answer = HTTPResponse(connection, method=method)
        try:
            answer.begin()
            content = answer.read()
        except (HTTPException, ConnectionError) as error:
            raise AssertionError(f"no answer to {method} {path!r} {headers}") from error
        names = {name.lower(): value for name, value in answer.getheaders()}
        assert "x-evil" not in names
        assert "x" not in names
        check(answer.status, names, content, method)
