"""Where the time went: a list of stages with their seconds. Knows nothing of what they are."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager


class Stages:
    """Measures the stages of one run. `began_at` is when the run began, in seconds since the epoch."""

    def __init__(self, began_at: float) -> None:
        self._began = time.monotonic() - max(0.0, time.time() - began_at)
        self._seconds: dict[str, float] = {"set up": time.monotonic() - self._began}
        self._inner: dict[str, float] = {}
        self._open: tuple[str, float] | None = None

    @contextmanager
    def timed(self, name: str) -> Generator[None]:
        """Whatever the block takes is the stage `name`."""
        start = time.monotonic()
        self._seconds[name] = 0.0
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - start

    def enter(self, name: str) -> None:
        """From now on the request is in the stage `name`; entering it again changes nothing."""
        if self._open and self._open[0] == name:
            return
        self.leave()
        self._open = (name, time.monotonic())

    def leave(self) -> None:
        if self._open:
            name, start = self._open
            self._inner[name] = self._inner.get(name, 0.0) + time.monotonic() - start
        self._open = None

    def report(self, timings: Mapping[str, float]) -> None:
        """The server's own account of the running stage."""
        self._inner.update({f"· {name}": seconds for name, seconds in timings.items()})

    def table(self) -> str:
        """One line per stage, the parts of the request indented, and the total."""
        lines = [""]
        for name, seconds in self._seconds.items():
            lines.append(f"{name:<22}{seconds:8.2f} s")
            if name == "request":
                lines += [f"  {inner:<20}{part:8.2f} s" for inner, part in self._inner.items()]
        lines.append(f"{'total':<22}{time.monotonic() - self._began:8.2f} s\n")
        return "\n".join(lines)
