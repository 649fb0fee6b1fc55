"""One process' way to Redis: a proxy that listens in, can stop time at a command or its answer, and can go dead.

Owns the bytes between one part and Valkey. Reads commands and answers only to know which script runs; what passes is
passed on as it came. What it learns of claims and outcomes goes into the record.
"""

import asyncio
import contextlib
import hashlib
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hiredis

from shared.queue import scripts
from tests.chaos.history import Claim, Entry, Finish

_CHUNK_BYTES = 64 * 1024
_PUSHING = {b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A script that a part runs: its verb and its arguments."""

    part: str
    verb: str
    args: tuple[str, ...]


class Caught:
    """A command (or its answer) that is held back until `let_go` or `drop`."""

    def __init__(self, spoken: Spoken, reply: Any) -> None:
        self.spoken = spoken
        self.reply = reply
        self.dropped = False
        self._over = asyncio.Event()

    def let_go(self) -> None:
        self._over.set()

    def drop(self) -> None:
        """It never arrives."""
        self.dropped = True
        self._over.set()

    async def held(self) -> None:
        await self._over.wait()


@dataclass(eq=False, slots=True)
class Trap:
    """Waits for the first command that fits. `answered`: holds the answer, not the command."""

    fits: Callable[[Spoken, Any], bool]
    answered: bool
    caught: "asyncio.Future[Caught]"


class Switchboard:
    """All wires of a system: which scripts there are, who waits for which, who keeps the record."""

    def __init__(self, record: Callable[[Entry], None]) -> None:
        self.record = record
        self._verbs: dict[bytes, str] = {}
        self._traps: list[Trap] = []
        self._spoken: defaultdict[str, set[str]] = defaultdict(set)
        for verb in scripts.verbs():
            self.know(verb, scripts.load(verb).text)

    def know(self, verb: str, text: str) -> None:
        """That this text, too, is a script of that verb."""
        raw = text.encode()
        self._verbs[raw] = verb
        self._verbs[hashlib.sha1(raw, usedforsecurity=False).hexdigest().encode()] = verb

    def verb(self, words: list[Any]) -> str | None:
        if len(words) < 3 or words[0] not in (b"EVALSHA", b"EVAL"):
            return None
        verb = self._verbs.get(words[1])
        if verb is not None and words[0] == b"EVALSHA":
            self._spoken[verb].add(words[1].decode())
        return verb

    def spoken_by(self, verb: str) -> set[str]:
        """Under which names a verb has been run so far, as far as it ran by a name."""
        return self._spoken[verb]

    async def catch(
        self, verb: str, *, answered: bool, within_s: float, fits: Callable[[Spoken, Any], bool] = lambda _s, _r: True
    ) -> Caught:
        """The next such command, held. Raises TimeoutError where none comes."""
        trap = Trap(lambda s, r: s.verb == verb and fits(s, r), answered, asyncio.get_running_loop().create_future())
        self._traps.append(trap)
        try:
            return await asyncio.wait_for(trap.caught, within_s)
        finally:
            if trap in self._traps:
                self._traps.remove(trap)

    def trapped(self, spoken: Spoken, reply: Any, *, answered: bool) -> Caught | None:
        for trap in self._traps:
            if trap.answered is answered and not trap.caught.done() and trap.fits(spoken, reply):
                self._traps.remove(trap)
                caught = Caught(spoken, reply)
                trap.caught.set_result(caught)
                return caught
        return None


@dataclass(eq=False, slots=True)
class _Line:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: deque[Spoken | None] = field(default_factory=deque[Spoken | None])
    pushing: bool = False
    dead: bool = False


class Wire:
    """Listens on `port`; everything that connects there is connected to Redis."""

    def __init__(self, part: str, redis_port: int, board: Switchboard) -> None:
        self.part = part
        self.port = 0
        self.parted = False
        """No connection comes about any more."""
        self._redis_port = redis_port
        self._board = board
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def go_dead(self) -> None:
        """Every connection there is stops passing anything on, and stays open: half-open, as behind a lost router."""
        for line in self._lines:
            line.dead = True

    def say(self, words: bytes) -> None:
        """To whoever listens for pokes, as if it were Redis that said it."""
        for line in self._lines:
            if line.pushing:
                line.client.write(words)

    def cut(self) -> None:
        for line in list(self._lines):
            _abort(line)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.parted:
            client.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:
            client.transport.abort()
            return
        line = _Line(client, server)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._commands(line, reader, pumps))
                pumps.create_task(self._answers(line, answers))
        except* (_Over, OSError):
            pass
        finally:
            self._lines.discard(line)
            _abort(line)

    async def _commands(self, line: _Line, reader: asyncio.StreamReader, pumps: asyncio.TaskGroup) -> None:
        words = hiredis.Reader()
        while chunk := await reader.read(_CHUNK_BYTES):
            words.feed(chunk)
            while (command := words.gets()) is not False:
                await self._command(line, command)
            if line.dead:
                continue
            line.server.write(chunk)
            await line.server.drain()
        line.server.close()  # after what was sent before the end: that still counts
        with contextlib.suppress(OSError):
            await line.server.wait_closed()
        raise _Over

    async def _command(self, line: _Line, command: list[Any]) -> None:
        if command[0].upper() in _PUSHING:
            line.pushing = True
        verb = self._board.verb(command)
        spoken = None
        if verb is not None:
            first = 3 + int(command[2])
            spoken = Spoken(self.part, verb, tuple(word.decode(errors="replace") for word in command[first:]))
            caught = self._board.trapped(spoken, None, answered=False)
            if caught is not None:
                await caught.held()
                if caught.dropped:
                    raise _Over
        if not line.pushing:
            line.asked.append(spoken)

    async def _answers(self, line: _Line, answers: asyncio.StreamReader) -> None:
        replies = hiredis.Reader(encoding="utf-8", errors="replace")
        while chunk := await answers.read(_CHUNK_BYTES):
            if not line.pushing:
                replies.feed(chunk)
                while (reply := replies.gets()) is not False:
                    await self._reply(line, reply)
            if line.dead:
                continue
            line.client.write(chunk)
            await line.client.drain()
        raise _Over

    async def _reply(self, line: _Line, reply: Any) -> None:
        spoken = line.asked.popleft() if line.asked else None
        if spoken is None or isinstance(reply, hiredis.ReplyError):
            return
        self._note(spoken, reply)
        caught = self._board.trapped(spoken, reply, answered=True)
        if caught is not None:
            await caught.held()
            if caught.dropped:
                raise _Over

    def _note(self, spoken: Spoken, reply: Any) -> None:
        if spoken.verb == "claim" and reply:
            id, number, claim = str(reply[0]), int(reply[1]), spoken.args[1]
            self._board.record(Claim(worker=self.part, request=id, number=number, claim=claim))
        elif spoken.verb == "finish":
            id, number, claim = spoken.args[:3]
            told = Finish(worker=self.part, request=id, number=int(number), claim=claim, verdict=str(reply))
            self._board.record(told)


class _Over(Exception):
    """One end of a line has hung up."""


def _abort(line: _Line) -> None:
    for writer in (line.client, line.server):
        with contextlib.suppress(OSError):
            writer.transport.abort()
