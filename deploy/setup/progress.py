"""How set-up talks: one line per step, a bar while it runs, and advice where it fails.

Knows nothing of what is installed. On a terminal the bar is redrawn in place; elsewhere (a log) a line is
written every ten seconds, so that nobody takes long work for a hang.
"""

import sys
import time
from collections.abc import Callable

WIDTH = 24
QUIET_S = 10.0


class SetupFailed(Exception):
    """A step could not be done. `advice` says what the reader can do about it."""

    def __init__(self, what: str, advice: str, output: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.output = output


class Bar:
    """The progress of one step: `at(part, text)` with part in 0…1, then `done()`.

    `now` is a monotonic clock in seconds.
    """

    def __init__(self, title: str, now: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._now = now
        self._start = now()
        self._spoke = now()
        self._terminal = sys.stdout.isatty()
        self._part = 0.0
        if not self._terminal:
            print(f"  {title} …", flush=True)

    def at(self, part: float, text: str) -> None:
        self._part = max(self._part, min(part, 1.0))
        if self._terminal:
            filled = round(self._part * WIDTH)
            drawn = "█" * filled + "·" * (WIDTH - filled)
            sys.stdout.write(f"\r\x1b[K  {self._title:<24} {drawn} {self._part:4.0%}  {text[:44]}")
            sys.stdout.flush()
        elif self._now() - self._spoke >= QUIET_S:
            self._spoke = self._now()
            print(f"  {self._title}: {self._part:.0%} after {self._now() - self._start:.0f} s, {text}", flush=True)

    def done(self, text: str = "") -> None:
        start = "\r\x1b[K" if self._terminal else ""
        note = f"  {text}" if text else ""
        print(f"{start}  {self._title:<24} done in {self._now() - self._start:.0f} s{note}", flush=True)
