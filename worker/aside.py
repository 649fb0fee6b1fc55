"""Threads for what cannot be stopped: downloads, and the decoding of pictures that strangers made.

Whoever waits for such work may give up and leave it behind; it goes on until it ends by itself. Owns the account of
what takes too long, because a thread in which a decoder hangs is gone for good. Knows nothing of requests.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Aside:
    """`seats` is how many may wait at once; as many again may be left behind. Nothing should take over `longest_s`."""

    def __init__(self, seats: int, *, longest_s: float) -> None:
        self.longest_s = longest_s
        self._seats = seats
        self._pool = ThreadPoolExecutor(2 * seats, thread_name_prefix="aside")
        self._since_s: dict[object, float] = {}

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Its `cancel` takes it back as long as no thread has begun with it."""
        return self._pool.submit(self._timed, partial(work, *args, **kwargs))

    def _timed(self, work: Callable[[], T]) -> T:
        me = object()
        self._since_s[me] = time.monotonic()
        try:
            return work()
        finally:
            del self._since_s[me]

    @property
    def exhausted(self) -> bool:
        """So much hangs here that what comes next may find no thread: only a new process helps."""
        latest_s = time.monotonic() - self.longest_s
        return sum(since_s < latest_s for since_s in list(self._since_s.values())) >= self._seats

    def close(self) -> None:
        """Returns at once; what has not begun never will."""
        self._pool.shutdown(wait=False, cancel_futures=True)
