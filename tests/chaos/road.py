"""The way to the bucket: a proxy that can be open, slow, silent, or answer 503 in the bucket's name."""

import asyncio
import contextlib
from typing import Final

_CHUNK_BYTES: Final = 64 * 1024
_SLOW_BYTES: Final = 512
_SLOW_S: Final = 0.05
_REFUSAL: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Road:
    """`state` is "open", "slow", "silent" or "failing", and counts for the connections that are there, too."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._state = "open"
        self._audible = asyncio.Event()
        self._audible.set()
        self._to = port
        self._server: asyncio.Server | None = None

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        (self._audible.clear if state == "silent" else self._audible.set)()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.state = "open"
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, server = await asyncio.open_connection("127.0.0.1", self._to)
        ways = [asyncio.create_task(way) for way in (self._there(reader, writer, server), self._back(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, server):
                end.close()

    async def _there(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self.state == "failing":
                    writer.write(_REFUSAL)
                    await writer.drain()
                    return
                await self._pass(chunk, server)

    async def _back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await back.read(_CHUNK_BYTES):
                await self._pass(chunk, writer)

    async def _pass(self, chunk: bytes, to: asyncio.StreamWriter) -> None:
        await self._audible.wait()
        while self.state == "slow" and chunk:
            to.write(chunk[:_SLOW_BYTES])
            chunk = chunk[_SLOW_BYTES:]
            await to.drain()
            await asyncio.sleep(_SLOW_S)
        to.write(chunk)
        await to.drain()
