"""How the engine's thread and the finisher share the device, and how long each thing that they do there may take."""

import math
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

from shared.errors import Unavailable
from worker.engine.alarm import Alarm
from worker.engine.fatal import Fatal
from worker.engine.ticket import Ticket

S = TypeVar("S")


class Sharing(Generic[S]):
    """They work beside each other, but for a decoding that needs the device to itself: it waits for the engine's
    thread, and that one waits for it."""

    def __init__(self, news: threading.Condition, *, hang_s: float | None) -> None:
        """`news` is told when a decoding has got the device to itself."""
        self.alarm = Alarm(hang_s)
        self.worked_s = 0.0
        """What the engine's thread has spent there; waiting for a decoding is no part of it."""
        self.decoding: tuple[Ticket[S], float] | None = None
        """Whose picture the finisher decodes, since when; while it waits for the device to itself, since never."""
        self._news = news
        self._lock = threading.Lock()

    def look(self) -> None:
        """Sets the alarm anew, by the engine's thread. Raises `Fatal` where a decoding hangs beside it."""
        ticket, since_s = self.decoding or (None, None)
        if ticket is not None and self.alarm.rings_for(since_s):
            raise Fatal("a decoding hangs", [ticket], Unavailable)
        self.alarm.set()

    @contextmanager
    def at_work(self) -> Generator[None]:
        """For each thing that the engine's thread does: it has its own time, to which waiting for a decoding that has
        the device to itself does not add. One that waits for that has it first."""
        self.look()
        with self._news:
            self._news.wait_for(lambda: not self._decoding_waits())
        if not self._lock.acquire(blocking=False):
            self._lock.acquire()
            self.alarm.set()
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.worked_s += time.monotonic() - began_s
            self._lock.release()

    @contextmanager
    def decoded(self, ticket: Ticket[S]) -> Generator[None]:
        """For all that the finisher does for a ticket, until that has its outcome."""
        self.decoding = ticket, time.monotonic()
        try:
            yield
        finally:
            self.decoding = None

    @contextmanager
    def alone(self, ticket: Ticket[S]) -> Generator[None]:
        """A decoding has the device to itself, and time of its own from when it has it."""
        self.decoding = ticket, math.inf
        with self._lock:
            with self._news:
                self.decoding = ticket, time.monotonic()
                self._news.notify_all()
            yield

    def is_decoded(self, ticket: Ticket[S]) -> bool:
        decoding = self.decoding
        return decoding is not None and decoding[0] is ticket

    def _decoding_waits(self) -> bool:
        decoding = self.decoding
        return decoding is not None and decoding[1] == math.inf
