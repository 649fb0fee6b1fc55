"""One part of the system as a real process: started, watched, signalled, started again when it dies.

Owns the process and its log. Knows nothing of what it does.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, cast

ROOT = Path(__file__).parents[2]
_LEASH = (sys.executable, "-I", "-S", str(ROOT / "deploy" / "local" / "leash.py"))
"""Ends it with us, however we end."""
_READY = b'"message": "ready"'
_WATCH_S = 0.03
_END_S = 15.0
_KNOWN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


class Part:
    """`command` under `environment`. `starts` counts; with `keep`, it is started again whenever it has ended."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.folder = ROOT
        self.starts = 0
        self.deaths: list[int] = []
        """Exit statuses that nobody asked for."""
        self.expected = False
        """Whether its next end is our doing."""
        self._log = log
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether the process of this moment has said so; only workers and the courier do."""
        return self.is_running and self._ready.is_set()

    def start(self) -> None:
        """Its output comes through a pipe: a limit on its files must not stop its log."""
        known = {name: os.environ[name] for name in _KNOWN if name in os.environ}
        self._process = subprocess.Popen(
            [*_LEASH, *self.command],
            cwd=self.folder,
            env=known | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._ready = threading.Event()
        self.starts += 1
        self.expected = False
        output = cast("IO[bytes]", self._process.stdout)
        threading.Thread(target=_pump, args=(output, self._log, self._ready), daemon=True).start()

    def keep(self) -> None:
        """Starts it, and again whenever it ends."""
        self.start()
        self._keeper = asyncio.create_task(self._keep())

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            self.expected = self.expected or number in (signal.SIGKILL, signal.SIGTERM)
            os.kill(self.pid, number)

    async def ended(self, within_s: float = _END_S) -> None:
        """Returns when the process of this moment has ended. Raises TimeoutError."""
        process, deadline_s = self._process, time.monotonic() + within_s
        while process is not None and process.poll() is None:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.name} did not end")
            await asyncio.sleep(_WATCH_S)

    async def stop(self) -> None:
        """For good."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            await self.ended()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            process = self._process
            if process is not None and process.poll() is not None:
                if not self.expected:
                    self.deaths.append(process.returncode)
                self.start()


def _pump(output: IO[bytes], path: Path, ready: threading.Event) -> None:
    with output, path.open("ab") as log:
        for line in output:
            if _READY in line:
                ready.set()
            log.write(line)
            log.flush()
