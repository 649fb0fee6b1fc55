"""How much this process may claim: the engine's free pixels and a small read-ahead, shared out among its threads.

Owns the budget. Knows neither Redis nor the engine's insides: a claim is a function that it is given.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

from shared.queue.records import Attempt

Claim = Callable[[int, Collection[str]], Attempt | None]
"""From a budget in pixels, and tenants of whom nothing more is wanted now, to the best that is queued, if it fits."""

UNLIMITED_PX: Final = 2**53 - 1
_SLOW_S: Final = 1.0
"""A picture that takes longer to come does not keep its pixels from others meanwhile."""


class Grant:
    """An attempt and the pixels reserved for it, from its claim until it is denoised."""

    __slots__ = ("_admission", "attempt", "claimed_s", "fetching", "px")

    def __init__(self, admission: "Admission", attempt: Attempt, claimed_s: float) -> None:
        self._admission = admission
        self.attempt = attempt
        self.claimed_s = claimed_s
        """Monotonic, from before the claim: the lease is at least as young."""
        self.px = attempt.cost_px
        self.fetching = True

    def arrived(self, px: int) -> None:
        """Its picture is here, so its true size is known, and it takes its place in the engine."""
        self._admission.arrived(self, px)

    def leaves(self, work: Future[Any]) -> None:
        """`work` for it may go on although nobody waits for it any more."""
        self._admission.leaves(self, work)

    def denoised(self) -> None:
        """Its pixels are free. Does nothing the second time. Returns at once: the engine's thread may call it."""
        self._admission.denoised(self)


class Admission:
    """`seats` is how many threads there are. `capacity_px` is asked anew for every claim: it may shrink."""

    def __init__(self, capacity_px: Callable[[], int], *, read_ahead_px: int, seats: int) -> None:
        self._capacity_px = capacity_px
        self._read_ahead_px = read_ahead_px
        self._seats = seats
        self._most_waiting = max(1, seats // 4)
        self._most_fetching = max(1, seats - seats // 4)
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._left = threading.Condition(self._lock)
        self._changes = 0
        self._grants: dict[Grant, None] = {}
        self._left_behind: Counter[str] = Counter()
        self._seated = 0
        self._waiting = 0
        self._closed = False

    @contextmanager
    def seat(self) -> Generator[None]:
        """Around everything that a thread does here."""
        with self._lock:
            self._seated += 1
        try:
            yield
        finally:
            with self._lock:
                self._seated -= 1
                self._left.notify_all()

    def take(self, claim: Claim) -> Grant | None:
        """The next attempt, or None when the thread is not needed: nothing is queued, or others will see to it.

        While pixels are short some threads wait here for them, so that a freed slot is claimed for in the time of one
        Redis call. A quarter of the seats at most, and never the last free one: whoever waits hears no doorbell.
        """
        while not self._closed:
            seen = self._changes
            with self._turn:  # two claims at once could spend the same pixels
                grant = self._claim(claim)
            if grant is not None:
                return grant
            if not self._wait(seen):
                return None
        return None

    def free_px(self) -> int:
        """What may be claimed now, never negative."""
        with self._lock:
            return max(0, self._limit_px() - self._used_px(time.monotonic()))

    def running(self) -> int:
        """Attempts that hold pixels."""
        return len(self._grants)

    def close(self) -> None:
        """Nothing is claimed any more."""
        with self._lock:
            self._closed = True
            self._changes += 1
            self._freed.notify_all()

    def empty(self, timeout_s: float) -> bool:
        """Whether every thread has left its seat, waiting for it if need be."""
        with self._lock:
            return self._left.wait_for(lambda: self._seated == 0, timeout_s)

    def arrived(self, grant: Grant, px: int) -> None:
        with self._lock:
            changed = px < grant.px or grant.attempt.tenant in self._avoided()
            grant.fetching, grant.px = False, px
            if changed:
                self._change()

    def leaves(self, grant: Grant, work: Future[Any]) -> None:
        """Until `work` ends it keeps one of the spare threads, of which there are as many as seats."""
        tenant = grant.attempt.tenant
        with self._lock:
            self._left_behind[tenant] += 1

        def ended(_: object) -> None:
            with self._lock:
                self._left_behind -= Counter((tenant,))

        work.add_done_callback(ended)

    def denoised(self, grant: Grant) -> None:
        with self._lock:
            if grant in self._grants:
                del self._grants[grant]
                self._change()

    def _change(self) -> None:
        self._changes += 1
        self._freed.notify(1 if self._grants else self._waiting)  # where nobody holds any, there is nobody to wait for

    def _claim(self, claim: Claim) -> Grant | None:
        budget_px = self._budget_px()
        if self._closed or budget_px <= 0:
            return None
        with self._lock:
            avoided = self._avoided()
        claimed_s = time.monotonic()
        attempt = claim(budget_px, avoided)
        if attempt is None:
            return None
        grant = Grant(self, attempt, claimed_s)
        with self._lock:
            self._grants[grant] = None
            self._freed.notify()  # there may be more, and pixels left for it
        return grant

    def _budget_px(self) -> int:
        """What does not fit at all may come when nothing else is here: otherwise it would block the queue for ever."""
        with self._lock:
            used_px = self._used_px(time.monotonic())
            return UNLIMITED_PX if used_px == 0 else self._limit_px() - used_px

    def _avoided(self) -> list[str]:
        """Tenants whose pictures are being waited for in three quarters of the seats, or who left as much behind as
        there are spare threads: the rest is for the others."""
        fetching = Counter(grant.attempt.tenant for grant in self._grants if grant.fetching)
        waited_for = (tenant for tenant, seats in fetching.items() if seats >= self._most_fetching)
        left_behind = (tenant for tenant, threads in self._left_behind.items() if threads >= self._seats)
        return list({*waited_for, *left_behind})

    def _limit_px(self) -> int:
        return self._capacity_px() + self._read_ahead_px

    def _used_px(self, now_s: float) -> int:
        """Slow downloads do not count: the engine must not idle for want of their pictures."""
        return sum(grant.px for grant in self._grants if not grant.fetching or now_s - grant.claimed_s <= _SLOW_S)

    def _wait(self, seen: int) -> bool:
        """Until something has changed since `seen`. False at once if this thread had better leave."""
        with self._lock:
            if self._changes != seen:
                return True
            if self._closed or self._waiting >= self._most_waiting or not self._grants or self._seated >= self._seats:
                return False
            fetching = any(grant.fetching for grant in self._grants)
            self._waiting += 1
            self._freed.wait(_SLOW_S if fetching else None)
            self._waiting -= 1
            return True
