"""What this process holds, and for how long it may believe so.

Owns the leases: their renewal, all in one call, and what is done where one is cancelled or lost. Our own monotonic
clock fences us where Redis cannot be reached: a request that could not be renewed for `fence_ms` may be somebody
else's by the end of its lease, so it is dropped before; when Redis answers again, what was dropped is given back, so
that nobody takes it for a crash. Knows nothing of what is done under a lease.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from shared.errors import Cancelled, Error, ServiceUnavailable, TotalTimeout
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis
from shared.queue.records import Finish, Held, Lease, Presence

_log = logging.getLogger(__name__)

T = TypeVar("T")


class LeaseLost(Error):
    """The request belongs to somebody else now: nothing about it may be written any more."""


class Holding:
    """One held request, as seen by the thread that works on it. `deadline_s` is of the monotonic clock: after it the
    request's total timeout has passed; infinite where it has none."""

    def __init__(self, held: Held, fence_s: float, deadline_s: float) -> None:
        self.held = held
        self._fence_s = fence_s
        self.deadline_s = deadline_s
        self._verdict = Lease.KEPT
        self._lock = threading.Lock()
        self._woken = threading.Event()

    @property
    def lost(self) -> bool:
        return self.taken or time.monotonic() >= self._fence_s

    @property
    def taken(self) -> bool:
        """Lost for certain: Redis said so, or it was given back."""
        return self._verdict is Lease.LOST

    def check(self) -> None:
        """Raises `LeaseLost`, `Cancelled` or `TotalTimeout` where the work has no use any more."""
        if self.lost:
            raise LeaseLost
        if self._verdict is Lease.CANCEL:
            raise Cancelled
        if time.monotonic() >= self.deadline_s:
            raise TotalTimeout

    def wait(self, future: Future[T], most_s: float = math.inf) -> T:
        """The future's result, unless the request is stopped first: `check`'s errors, or TimeoutError after `most_s`.
        The future itself goes on."""
        self.check()
        future.add_done_callback(lambda _: self._woken.set())
        left_s = min(most_s, self.deadline_s - time.monotonic())
        in_time = self._woken.wait(None if left_s == math.inf else max(0.0, left_s))
        self.check()
        if not in_time:
            raise TimeoutError
        self._woken.clear()
        return future.result()

    def renewed(self, until_s: float) -> None:
        self._fence_s = max(self._fence_s, until_s)

    def heed(self, verdict: Lease) -> bool:
        """A loss is final; a cancellation stays one. True when this changed anything."""
        with self._lock:
            if verdict in (Lease.KEPT, self._verdict) or self._verdict is Lease.LOST:
                return False
            self._verdict = verdict
        self._woken.set()
        return True


class Leases:
    """Of all threads of this process. `presence` is asked at every renewal."""

    def __init__(
        self, redis: SyncRedis, presence: Callable[[], Presence], *, lease_ms: int, fence_ms: int, retention_s: int
    ) -> None:
        self._redis = redis
        self._presence = presence
        self._lease_ms = lease_ms
        self._fence_s = fence_ms / 1000
        self._retention_s = retention_s
        self._lock = threading.Lock()
        self._holdings: dict[Held, Holding] = {}
        self._dropped: set[Held] = set()
        self._released = False

    @contextmanager
    def hold(self, held: Held, claimed_s: float, left_s: float = math.inf) -> Generator[Holding]:
        """From the claim (monotonic, before the call) to the end of the block. `left_s` after the claim its total
        timeout has passed."""
        holding = Holding(held, claimed_s + self._fence_s, claimed_s + left_s)
        for earlier in self._of(held.id):
            earlier.heed(Lease.LOST)  # we hold it anew, so that attempt is over
        with self._lock:
            self._holdings[held] = holding
            late = self._released
        if late:
            self.give_back(holding)
        try:
            yield holding
        finally:
            with self._lock:
                del self._holdings[held]
            if holding.lost and not holding.taken:
                self._drop(holding)

    def renew(self) -> None:
        """One round. Raises `ServiceUnavailable`, after dropping what can no longer be believed to be ours."""
        self._fence()
        with self._lock:
            holdings = [holding for holding in self._holdings.values() if not holding.lost]
        began_s = time.monotonic()
        command = commands.renew(self._presence(), [h.held for h in holdings], lease_ms=self._lease_ms)
        try:
            verdicts = execute.run_sync(self._redis, command)
        finally:
            self._fence()
        for holding in holdings:
            verdict = verdicts[holding.held.id]
            if verdict is not Lease.LOST:
                holding.renewed(began_s + self._fence_s)
            self.heed(holding.held, verdict)
        self._return_dropped()

    def heed(self, held: Held, verdict: Lease) -> None:
        """What a reply of the queue said about one of ours."""
        with self._lock:
            holding = self._holdings.get(held)
        if holding is not None and holding.heed(verdict) and verdict is Lease.LOST:
            _say_lost(held)

    def cancel(self, id: str) -> None:
        """Its owner asked for it. Not an error when we do not hold it."""
        for holding in self._of(id):
            holding.heed(Lease.CANCEL)

    def release(self) -> int:
        """Gives everything back to the queue, for a worker that drains. Returns how many. What a claim under way still
        brings goes back as soon as it is held."""
        with self._lock:
            self._released = True
            holdings = list(self._holdings.values())
        return sum(self.give_back(holding) for holding in holdings if not holding.lost)

    def held(self) -> int:
        return len(self._holdings)

    def give_back(self, holding: Holding) -> bool:
        """One that this process cannot carry out, through no fault of the request's. It is lost then. True where the
        queue has it again already; where Redis does not answer, it will."""
        back = False
        try:
            back = self._release(holding.held) is Finish.REQUEUED
        except ServiceUnavailable:
            self._dropped.add(holding.held)
            _log.warning("not released: Redis does not answer", extra={"request": holding.held.id})
        holding.heed(Lease.LOST)
        return back

    def _drop(self, holding: Holding) -> None:
        """By our own clock: nobody has told us yet that it is somebody else's."""
        self._dropped.add(holding.held)
        if holding.heed(Lease.LOST):
            _say_lost(holding.held)

    def _return_dropped(self) -> None:
        """What our own clock made us drop. It may be somebody else's by now: then this changes nothing."""
        while self._dropped:
            held = self._dropped.pop()
            try:
                became = self._release(held)
            except ServiceUnavailable:
                self._dropped.add(held)
                raise
            _log.info("dropped, and given back: %s", became.value, extra={"request": held.id, "attempt": held.number})

    def _release(self, held: Held) -> Finish:
        return execute.run_sync(self._redis, commands.release(held, retention_s=self._retention_s))

    def _of(self, id: str) -> Iterator[Holding]:
        with self._lock:
            return iter([holding for holding in self._holdings.values() if holding.held.id == id])

    def _fence(self) -> None:
        with self._lock:
            holdings = list(self._holdings.values())
        for holding in holdings:
            if holding.lost and not holding.taken:
                self._drop(holding)


def _say_lost(held: Held) -> None:
    _log.warning("lease lost", extra={"request": held.id, "attempt": held.number})
