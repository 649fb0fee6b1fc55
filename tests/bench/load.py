"""A small HTTP/1.1 load generator: keep-alive connections, one request in flight on each.

Owns: sending ready-made bytes and counting complete answers. Does not know what is asked. It is written on
asyncio's protocols because the client shares two cores with what it measures: httpx would be the bottleneck.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a run. `bodies` are kept in order of arrival if they were asked for."""

    seconds: float
    statuses: dict[int, int]
    latencies_ms: list[float]
    bodies: list[bytes]

    @property
    def answers(self) -> int:
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def post(path: str, body: bytes, *, key: str = "bench:secret") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *, key: str = "bench:secret") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key {key}\r\n\r\n".encode()


class _Connection(asyncio.Protocol):
    """Sends what `take` gives, one after the other, until it gives None."""

    def __init__(self, take: Callable[[], bytes | None], answered: Callable[[int, bytes, float], None]) -> None:
        self._take = take
        self._answered = answered
        self._buffer = bytearray()
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = self._take()
        assert self._transport is not None
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        mark = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[mark:].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._answered(int(head[9:12]), body, (time.perf_counter() - self._sent_at) * 1000)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            if exc is None:
                self.finished.set_result(None)
            else:
                self.finished.set_exception(exc)


async def run(port: int, requests: Iterator[bytes], *, connections: int, keep_bodies: bool = False) -> Load:
    """Sends every request over `connections` connections and waits for all the answers."""
    statuses: dict[int, int] = {}
    latencies: list[float] = []
    bodies: list[bytes] = []

    def answered(status: int, body: bytes, latency_ms: float) -> None:
        statuses[status] = statuses.get(status, 0) + 1
        latencies.append(latency_ms)
        if keep_bodies:
            bodies.append(body)

    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(lambda: next(requests, None), answered), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.finished for _, protocol in made))
    return Load(time.perf_counter() - began, statuses, latencies, bodies)


def quantile(values: list[float], q: float) -> float:
    """The value below which a share `q` of them lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
