"""Connections that are checked and that end in time: the network beneath the HTTP client.

Owns name resolution, the check of every address, and the deadline of a whole call. Knows nothing of HTTP.
TLS happens above, by the host's name: connecting to an address changes neither SNI nor the certificate check.
"""

import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httpcore

from shared.egress import addresses
from shared.egress.addresses import Address
from shared.egress.allow import Allow
from shared.egress.errors import Blocked

_log = logging.getLogger(__name__)
_CONNECT_S = 5.0
_OPEN_PORTS = {80, 443}
_SYSTEM_PORTS = 1024


class Stop:
    """Ends a call from another thread."""

    def __init__(self) -> None:
        self.made = False
        self._lock = threading.Lock()
        self._wakers: set[Callable[[], None]] = set()

    def make(self) -> None:
        """Whatever waits under it wakes at once, but for a name that is looked up and a connection that is made."""
        with self._lock:
            self.made = True
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Generator[None]:
        """Around a wait that `wake`, called once by any thread, would end."""
        with self._lock:
            self._wakers.add(wake)
            late = self.made
        try:
            if late:
                wake()
            yield
        finally:
            with self._lock:
                self._wakers.discard(wake)


class Deadline:
    """A moment on the monotonic clock by which a whole call must be over, or when it is stopped."""

    def __init__(self, timeout_s: float, stop: Stop | None = None) -> None:
        self._at_s = time.monotonic() + timeout_s
        self.stop = stop or Stop()

    def left_s(self, most_s: float | None = None) -> float:
        """Raises `httpcore.ReadTimeout` where nothing is left."""
        left_s = self._at_s - time.monotonic()
        if left_s <= 0 or self.stop.made:
            raise httpcore.ReadTimeout("the call took too long")
        return left_s if most_s is None else min(left_s, most_s)


class CheckedNetwork(httpcore.NetworkBackend):
    def __init__(self, allow: Allow, deadline: Deadline) -> None:
        self._allow = allow
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to the first address that answers. Raises `Blocked` if any of them must not be called, or there is
        none; which of the two, only the log says."""
        del timeout, local_address, socket_options
        checked = self._check(host, port, _resolve(host, port, self._deadline))
        for number, address in enumerate(checked, start=1):
            try:
                stream = self._plain.connect_tcp(str(address), port, timeout=self._deadline.left_s(_CONNECT_S))
                return _TimedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(checked):
                    raise
        raise httpcore.ConnectError("the name has no address")

    def _check(self, host: str, port: int, found: list[Address]) -> list[Address]:
        if self._allow.permits_host(host, port):
            return found
        for address in found:
            if self._allow.permits_address(address, port):
                continue
            if not addresses.is_public(address):
                raise _nowhere(host, f"{address} is private, and not in EGRESS_ALLOW")
            if port not in _OPEN_PORTS and port < _SYSTEM_PORTS:
                raise Blocked(f"Port {port} is not one of a web server")
        return found


class _TimedStream(httpcore.NetworkStream):
    """Gives each read and write no more than what is left for the whole call: a server may not drip bytes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._deadline.stop.waking(self._hang_up):
            return self._stream.read(max_bytes, self._deadline.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._deadline.stop.waking(self._hang_up):
            self._stream.write(buffer, self._deadline.left_s(timeout))

    def _hang_up(self) -> None:
        _hang_up(_socket(self._stream))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # The handshake begins by taking the socket over, so another name of it has to be there to hang up by.
        with _socket(self._stream).dup() as same, self._deadline.stop.waking(partial(_hang_up, same)):
            stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left_s(timeout))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _socket(stream: httpcore.NetworkStream) -> socket.socket:
    return stream.get_extra_info("socket")


def _hang_up(connection: socket.socket) -> None:
    """Whoever reads or writes finds the connection ended."""
    with suppress(OSError):  # and not by the method of an SSL socket: that is for the one thread which uses it
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _resolve(host: str, port: int, deadline: Deadline) -> list[Address]:
    """Every address of a name, asked for once. The system's resolver cannot be interrupted, so in the end it is left
    behind; a call that is stopped waits for it as long as any, or threads would be left behind faster than they end."""
    answers: queue.SimpleQueue[list[Address] | OSError | ValueError] = queue.SimpleQueue()
    left_s = deadline.left_s()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(addresses.parse(str(answer[4][0])) for answer in found)))
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=left_s)
    except queue.Empty:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from None
    if isinstance(answer, (OSError, ValueError)):
        raise _nowhere(host, answer)
    return answer


def _nowhere(host: str, why: object) -> Blocked:
    """In the same words for every host: strangers would find out which names of our network there are."""
    _log.info("%s is not called: %s", host, why)
    return Blocked(f"{host} leads to no address on the public internet")
