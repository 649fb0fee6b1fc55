"""Waiting for something that another process does. The only place in these tests where time passes by itself.

Everything polls a condition up to a deadline; nobody sleeps for a span that was guessed.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.02


class TookTooLong(AssertionError):
    """The condition did not come true before its deadline."""


def until(condition: Callable[[], T | None], *, within_s: float, what: str, pause_s: float = PAUSE_S) -> T:
    """The first value of `condition` that is true. Raises `TookTooLong`, which says `what` was awaited.

    Asks at least twice, so that a caller starved of CPU for the whole time does not fail a system that is fine.
    """
    deadline = time.monotonic() + within_s
    late = False
    while True:
        value = condition()
        if value:
            return value
        if late:
            raise TookTooLong(f"{what}: not within {within_s:g} s (last seen: {value!r})")
        time.sleep(pause_s)
        late = time.monotonic() >= deadline


class Stopwatch:
    """Seconds since it was made, on the clock that no one sets."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
