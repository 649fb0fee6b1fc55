"""Runs the supervisor in this process, shows what its programs write, and ends all where going on makes no sense.

This is the only module that touches the supervisor package, which has no types: it restarts the programs that die
and stops them all at SIGINT or SIGTERM. Ours on top of it are two rules:
a program that ends with the status for wrong settings ends the system, and so does one that keeps dying before the
system was ever ready. Later than that, a program that dies is started again for as long as it takes.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false, reportAttributeAccessIssue=false

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from deploy.local.programs import READY, WRONG_SETTINGS
from deploy.local.terminal import Terminal

ATTEMPTS = 5
"""So often may one program die before the system has been ready once."""
PAUSE_S = 0.2
"""Between two looks at who has died. The supervisor's own second would be paid for each program that stops."""


def run(configuration: Path, names: Sequence[str]) -> int:
    """Returns when everything has stopped: 0, 2 after wrong settings, 1 where a program could not be started."""
    options: Any = ServerOptions()
    options.realize(["-c", str(configuration)])
    options.first = True
    options.test = False
    foreground = Foreground(options, Terminal(max(len(name) for name in names)))
    with contextlib.suppress(asyncore.ExitNow):
        foreground.main()
    foreground.conclude()
    return foreground.status


class Foreground(Supervisor):
    def __init__(self, options: Any, terminal: Terminal) -> None:
        super().__init__(options)
        self.status = 0
        self._terminal = terminal
        self._deaths: Counter[str] = Counter()
        self._was_ready = False
        self._reason = ""

    def runforever(self) -> None:
        """The supervisor forgets all subscribers when it starts; this is the first moment after that."""
        events.subscribe(events.ProcessLogEvent, self._on_output)
        events.subscribe(events.ProcessStateExitedEvent, self._on_end)
        events.subscribe(events.ProcessStateStoppedEvent, self._on_stopped)
        events.subscribe(events.SupervisorStoppingEvent, self._on_stopping)
        poll: Callable[[float], object] = self.options.poller.poll

        def look_often(timeout: float) -> object:
            return poll(min(timeout, PAUSE_S))

        self.options.poller.poll = look_often
        super().runforever()

    def conclude(self) -> None:
        self._terminal.announce(self._reason or "All stopped.")

    def _on_output(self, event: Any) -> None:
        self._terminal.feed(event.process.config.name, event.data)

    def _on_end(self, event: Any) -> None:
        name = event.process.config.name
        status = event.process.exitstatus
        self._terminal.end(name)
        if name == READY:
            self._was_ready = self._was_ready or status == 0
        elif status == WRONG_SETTINGS:
            self._give_up(2, f"{name} cannot start with these settings. {self._terminal.last(name)}")
        else:
            self._deaths[name] += 1
            how = f"with status {status}" if status >= 0 else "by a signal"
            if not self._was_ready and self._deaths[name] >= ATTEMPTS:
                self._give_up(1, f"{name} does not start; its last words: {self._terminal.last(name)}")
            elif self.options.mood >= SupervisorStates.RUNNING:
                self._terminal.say(name, f"— ended {how}; starting it again —")

    def _on_stopped(self, event: Any) -> None:
        self._terminal.end(event.process.config.name)

    def _on_stopping(self, _event: Any) -> None:
        self._terminal.announce("Stopping …")

    def _give_up(self, status: int, reason: str) -> None:
        if not self._reason:
            self.status, self._reason = status, reason
        self.options.mood = SupervisorStates.SHUTDOWN
