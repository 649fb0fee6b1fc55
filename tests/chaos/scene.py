"""What a fault is, and what it has at hand while it is injected."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from shared.queue import keys
from tests.chaos.load import Load
from tests.chaos.stage import Stage

PATIENCE_S: Final = 90.0
"""For a moment of the system's work that is bound to come."""


@dataclass(eq=False, slots=True)
class Scene:
    """One fault on the stage, under load. `memory` is what a fault's rounds tell each other."""

    fault: str
    stage: Stage
    load: Load
    chance: random.Random
    memory: dict[str, object] = field(default_factory=dict[str, object])

    def takes_turns(self) -> bool:
        """False, True, False, …"""
        before = bool(self.memory.get("turn", True))
        self.memory["turn"] = not before
        return not before

    async def state(self, id: str) -> str:
        """Of a request, as Redis has it now."""
        return str(await self.stage.ask("HGET", keys.request(id), "state"))

    def note(self, what: str, part: str = "") -> None:
        """That the fault has just been made."""
        self.stage.note(self.fault, what, part)


Inject = Callable[[Scene], Awaitable[None]]


async def _nothing(_: Scene) -> None:
    return


@dataclass(frozen=True, slots=True)
class Fault:
    """`inject` makes it once and returns when the next round may begin; `heal` takes back what outlives a round.

    `rounds` of the short form; the long one makes `longer` times as many. `store` is the kind of store that it needs,
    `needs` gives the reason for which it cannot be had here, or None.
    """

    name: str
    what: str
    inject: Inject
    heal: Inject = _nothing
    rounds: int = 2
    longer: int = 5
    at_once: int = 8
    hook: str = "good"
    store: str = "folder"
    needs: Callable[[], str | None] = lambda: None
