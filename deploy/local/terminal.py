"""What `make serve` writes: the lines of all programs, each behind the name of its program. Knows no program."""

import sys
from typing import TextIO

from deploy.local.loglines import readable


class Terminal:
    """Puts chunks of output together into whole lines and remembers the last one of each program."""

    def __init__(self, width: int, out: TextIO | None = None) -> None:
        self._width = width
        self._out: TextIO | None = out or sys.stdout
        self._rest: dict[str, bytes] = {}
        self._last: dict[str, str] = {}

    def feed(self, name: str, chunk: bytes) -> None:
        """Output of the program `name`, cut anywhere."""
        *lines, self._rest[name] = (self._rest.get(name, b"") + chunk).split(b"\n")
        for line in lines:
            for readable_line in readable(line.decode("utf-8", "replace").rstrip("\r")).split("\n"):
                self.say(name, readable_line)

    def end(self, name: str) -> None:
        """The program has ended: what it wrote last may lack its newline."""
        if self._rest.get(name):
            self.feed(name, b"\n")

    def say(self, name: str, line: str) -> None:
        if line.strip():
            self._last[name] = line.strip()
        self._write(f"{name:<{self._width}} | {line}")

    def announce(self, line: str) -> None:
        """A line of the system itself, set apart from the programs' ones."""
        self._write(line)

    def last(self, name: str) -> str:
        return self._last.get(name, "it said nothing")

    def _write(self, line: str) -> None:
        """A terminal that is gone must not take the system with it."""
        if self._out is None:
            return
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            self._out = None
