"""The world outside: a server of pictures, and receivers of webhooks with manners of their own.

Owns what they answer and the record of what they were asked. Plain HTTP/1.1 on the loopback, one answer a connection.
"""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from io import BytesIO

from PIL import Image

from tests.chaos.history import Call, Entry, Fetch, Intrusion

Visit = Callable[[asyncio.StreamWriter, int], Awaitable[int]]
"""Answers the n-th call of a hook (from 1) and returns the status that the caller got, 0 for none."""

_GIGABYTE = 1 << 30
_MOST_READ = 64 << 20
"""What may lie in buffers on the way, generously."""
_CHUNK = bytes(1 << 16)
_HANGS_S = 5.0


def picture() -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(file, "PNG")
    return file.getvalue()


class HalfPicture:
    """A picture of which half has been sent; the rest follows when it is let go."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.whole = asyncio.Event()

    def let_go(self) -> None:
        self.whole.set()


class World:
    """Its two ports are there once it is open: one for all that is public, one for what nobody may call."""

    def __init__(self, record: Callable[[Entry], None]) -> None:
        self.port = 0
        self.inside_port = 0
        self.picture = picture()
        self.manners: dict[str, Visit] = {
            "good": _good,
            "failing": self._failing,
            "hanging": self._hanging,
            "redirecting": self._redirecting,
            "flooding": self._flooding,
        }
        self.told = asyncio.Event()
        """Set: hooks answer at once."""
        self.told.set()
        self.calling: asyncio.Queue[str] = asyncio.Queue()
        """Tokens whose webhooks are being held back."""
        self.met: Counter[str] = Counter()
        """Calls so far in which a manner showed."""
        self._record = record
        self._visits: Counter[str] = Counter()
        self._hangs = itertools.count()
        self._next: asyncio.Future[HalfPicture] | None = None
        self._halves: list[HalfPicture] = []
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        for answer in (self._outside, self._inside):
            self._servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        self.port, self.inside_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def close(self) -> None:
        self.let_go()
        for server in self._servers:
            server.close()

    def let_go(self) -> None:
        """Of everything that is held back."""
        self.told.set()
        for half in self._halves:
            half.let_go()

    async def half_a_picture(self, within_s: float) -> HalfPicture:
        """The next picture that is asked for, in the middle. Raises TimeoutError where none is."""
        self._next = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(self._next, within_s)

    def picture_url(self, token: str) -> str:
        return f"http://127.0.0.1:{self.port}/pictures/{token}.png"

    def hook_url(self, manner: str, token: str) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/{manner}/{token}"

    async def _outside(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            line, body = await _request(reader)
            path = line.split(" ")[1].split("/")
            if path[1] == "pictures":
                await self._send_picture(writer, path[2].removesuffix(".png"))
            else:
                await self._take(writer, path[2], path[3], body)
        writer.close()

    async def _send_picture(self, writer: asyncio.StreamWriter, token: str) -> None:
        self._record(Fetch(token=token))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {len(self.picture)}\r\n\r\n"
        middle = len(self.picture) // 2
        writer.write(head.encode() + self.picture[:middle])
        await writer.drain()
        if self._next is not None and not self._next.done():
            half = HalfPicture(token)
            self._halves.append(half)
            self._next.set_result(half)
            await half.whole.wait()
            self._halves.remove(half)
        writer.write(self.picture[middle:])
        await writer.drain()

    async def _take(self, writer: asyncio.StreamWriter, manner: str, token: str, body: bytes) -> None:
        if not self.told.is_set():
            self.calling.put_nowait(token)
            await self.told.wait()
        self._visits[token] += 1
        try:
            status = await self.manners[manner](writer, self._visits[token])
        except OSError:
            status = 0
        request = str(json.loads(body)["request_id"])
        self._record(Call(token=token, request=request, status=status, body=body.decode()))

    async def _redirecting(self, writer: asyncio.StreamWriter, visit: int) -> int:
        """Inward, to two places: the first of them takes note, the second is a cloud's secrets."""
        if visit > 2:
            return await _good(writer, visit)
        self.met["redirecting"] += 1
        to = f"127.0.0.1:{self.inside_port}/secret" if visit == 1 else "169.254.169.254/latest/meta-data"
        return await _say(writer, 307, f"Location: http://{to}\r\n")

    async def _failing(self, writer: asyncio.StreamWriter, visit: int) -> int:
        if visit > 3:
            return await _good(writer, visit)
        self.met["failing"] += 1
        return await _say(writer, 500)

    async def _hanging(self, writer: asyncio.StreamWriter, visit: int) -> int:
        """Every fourth time no answer, for longer than anybody waits."""
        if visit > 1 or next(self._hangs) % 4:
            return await _good(writer, visit)
        self.met["hanging"] += 1
        await asyncio.sleep(_HANGS_S)
        return 0

    async def _flooding(self, writer: asyncio.StreamWriter, visit: int) -> int:
        """200, and a gigabyte of it. Whoever reads much of that has lost."""
        self.met["flooding"] += 1
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {_GIGABYTE}\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            while sent < _GIGABYTE:
                writer.write(_CHUNK)
                await writer.drain()
                sent += len(_CHUNK)
        if sent > _MOST_READ:
            self._record(Intrusion(what=f"{sent} bytes of a receiver's answer"))
        return 200

    async def _inside(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            line, _ = await _request(reader)
            self._record(Intrusion(what=line))
        writer.close()


async def _good(writer: asyncio.StreamWriter, visit: int) -> int:
    return await _say(writer, 200)


async def _say(writer: asyncio.StreamWriter, status: int, headers: str = "") -> int:
    writer.write(f"HTTP/1.1 {status} So\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    return status


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """(request line, body). Raises EOFError for half a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, _, headers = head.partition("\r\n")
    lengths = [row.partition(":")[2] for row in headers.split("\r\n") if row.lower().startswith("content-length:")]
    return line, await reader.readexactly(int(lengths[0]) if lengths else 0)
