"""One GET of a picture, one POST of a webhook.

Owns redirects, sizes, encodings and the deadline of a whole call. Reads no proxy from the environment: a proxy would
resolve names itself, unchecked. Knows nothing of requests or results.
"""

import ssl
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import certifi
import httpcore

from shared.egress import urls
from shared.egress.allow import Allow
from shared.egress.errors import Blocked, FetchFailed, TooLarge
from shared.egress.network import CheckedNetwork, Deadline, Stop

USER_AGENT = "kolors-queue/0.1"
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_ENOUGH_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    content: bytes
    content_type: str
    """As the server said it, in lower case and without parameters; empty if it said nothing."""
    url: str
    """Where it came from in the end."""


def fetch(url: str, *, max_bytes: int, timeout_s: float, allow: Allow, stop: Stop | None = None) -> Fetched:
    """GETs one file. `timeout_s` bounds everything together: names, redirects, and every last byte; `stop` ends it
    before, as if the time were over or the connection had broken off.

    Raises `Blocked` for an address that must not be called, or a name that has none, at the first step or behind a
    redirect (five at most), `TooLarge` above `max_bytes` whatever the server announced, `FetchFailed` for anything else
    than a 200.
    """
    deadline = Deadline(timeout_s, stop)
    at = urls.checked(url)
    with _calling(allow, deadline) as pool:
        for _ in range(_MOST_REDIRECTS + 1):
            # identity: a compressed answer could be a thousand times the bytes that we count
            headers = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
            with pool.stream("GET", at, headers=_headers(at, headers)) as answer:
                location = _header(answer, b"location")
                if answer.status not in _REDIRECTS or not location:
                    return Fetched(_content(answer, max_bytes), _content_type(answer), at)
            at = urls.redirected(at, location)
    raise FetchFailed(f"The address redirects more than {_MOST_REDIRECTS} times")


def post(
    url: str, content: bytes | Iterator[bytes], headers: Mapping[str, str], *, timeout_s: float, allow: Allow
) -> int:
    """POSTs once and returns the status, a 3xx as what it is. Reads no more than 64 KB of the answer.

    Content in pieces needs its true Content-Length among the headers; each is asked for when the one before is on its
    way. Raises `Blocked` and `FetchFailed` as `fetch` does, and whatever making a piece raises.
    """
    at = urls.checked(url)
    every = _headers(at, headers)
    with (
        _calling(allow, Deadline(timeout_s)) as pool,
        pool.stream("POST", at, headers=every, content=content) as answer,
    ):
        with suppress(TooLarge, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            _bounded(answer.iter_stream(), _ENOUGH_BYTES)  # the answer stands, however its body ends
        return answer.status


@contextmanager
def _calling(allow: Allow, deadline: Deadline) -> Generator[httpcore.ConnectionPool]:
    """A client for one call; what goes wrong on the wire is `FetchFailed`."""
    network = CheckedNetwork(allow, deadline)
    try:
        with httpcore.ConnectionPool(_tls(), network_backend=network, http2=False) as pool:
            yield pool
    except httpcore.TimeoutException as error:
        raise FetchFailed("The address did not answer in time") from error
    except httpcore.ConnectError as error:
        raise FetchFailed(f"No connection: {error}") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise FetchFailed("The connection broke off") from error


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities (SSL_CERT_FILE replaces them), or the bundled ones where it has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return context


def _headers(url: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """With the Host that the URL names; Content-Length comes from the client, unless it is given."""
    host = url.split("/", 3)[2]
    every = {"Host": host, "User-Agent": USER_AGENT, "Connection": "close", **headers}
    try:
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in every.items()]
    except UnicodeEncodeError as error:
        raise Blocked("A header is not plain text") from error


def _header(answer: httpcore.Response, name: bytes) -> str:
    found = [value for key, value in answer.headers if key.lower() == name]
    return found[0].decode("latin-1").strip() if found else ""


def _content_type(answer: httpcore.Response) -> str:
    return _header(answer, b"content-type").partition(";")[0].strip().lower()


def _content(answer: httpcore.Response, max_bytes: int) -> bytes:
    if answer.status != 200:
        raise FetchFailed(f"The address answered {answer.status}", status=answer.status)
    announced = _header(answer, b"content-length")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise TooLarge(f"The address announced {announced} bytes")
    encoding = _header(answer, b"content-encoding").lower()
    if encoding in {"", "identity"}:
        return _bounded(answer.iter_stream(), max_bytes)
    if encoding in {"gzip", "x-gzip", "deflate"}:  # unasked for, but there are such servers
        return _bounded(_unzipped(answer.iter_stream(), max_bytes), max_bytes)
    raise FetchFailed("The answer is encoded in a way that was not asked for")


def _bounded(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > max_bytes:
            raise TooLarge(f"The answer has more than {max_bytes} bytes")
    return bytes(content)


def _unzipped(chunks: Iterable[bytes], max_bytes: int) -> Generator[bytes]:
    """Never makes more than `max_bytes` + 1 out of one chunk: a bomb is noticed before it is unpacked."""
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        for chunk in chunks:
            yield unzip.decompress(chunk, max_bytes + 1)
    except zlib.error as error:
        raise FetchFailed("The answer is not encoded as it says") from error
    if not unzip.eof:
        raise FetchFailed("The connection broke off")
