"""One write per answer. uvicorn hands the head and the body of an answer to the transport one after the other, and each
becomes a system call and a packet of its own; here they leave together, at the end of the loop's current round.

What is no HTTP never gets as far as the application, so it is refused here, in the shape of every other refusal.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.edge import complete
from api.errors import answer
from shared.errors import BadRequest

_MOST_BYTES = 16 * 1024


class Together:
    """An asyncio transport, as far as uvicorn uses one, that gathers what is written in one round of the loop.

    No more than `_MOST_BYTES` are gathered: the rest is for the transport below, whose flow control stays in force.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size_bytes += len(data)
        if self._size_bytes > _MOST_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._size_bytes = 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(cast("asyncio.Transport", Together(transport)))

    def send_400_response(self, msg: str) -> None:
        refusal = answer(BadRequest(msg))
        headers = [*self.server_state.default_headers, *refusal.raw_headers, (b"connection", b"close")]
        complete(headers)
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[refusal.status_code] + head + b"\r\n" + bytes(refusal.body))
        self.transport.close()
