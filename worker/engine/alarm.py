"""Ends a process that hangs where no Python can end it: in a call that holds the interpreter's lock."""

import faulthandler
import time


class Alarm:
    """`after_s` from the last `set` the process ends, with every thread's traceback; None never does. One a process."""

    def __init__(self, after_s: float | None) -> None:
        self._after_s = after_s

    def set(self) -> None:
        if self._after_s is not None:
            faulthandler.dump_traceback_later(self._after_s, exit=True)

    def off(self) -> None:
        if self._after_s is not None:
            faulthandler.cancel_dump_traceback_later()

    def rings_for(self, since_s: float | None) -> bool:
        """Whether what began then (monotonic; None: nothing did) has taken too long. Prints the tracebacks if so."""
        rings = self._after_s is not None and since_s is not None and time.monotonic() - since_s > self._after_s
        if rings:
            faulthandler.dump_traceback()
        return rings
