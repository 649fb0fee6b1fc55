"""Plays faults on a stage under load, one after the other, and brings everything to rest before the check.

Owns the order: load, rounds of the fault, healing, rest. Knows no fault by name.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.queue import keys
from tests.chaos import leftovers
from tests.chaos.history import History, Record, Unmade
from tests.chaos.load import Load
from tests.chaos.scene import Fault, Scene
from tests.chaos.stage import Pace, Stage, raised
from tests.chaos.stores import opened

_FLOWING_S = 20.0
_REST_S = 90.0
_DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How long it is played: requests of each fault, rounds as a multiple of the short form's, the leases' times."""

    requests: int
    long: bool
    pace: Pace

    def rounds(self, fault: Fault) -> int:
        return fault.rounds * (fault.longer if self.long else 1)

    def clients(self, fault: Fault) -> int:
        return fault.at_once * (2 if self.long else 1)


async def play(folder: Path, faults: Sequence[Fault], terms: Terms, say: Callable[[str], None]) -> History:
    """All on one stage, with the kind of store that they need.

    Raises TimeoutError where the system does not come up. That a fault could not be made is in the history.
    """
    record = Record(folder)
    system = folder / "system"
    async with opened(faults[0].store, system) as store, raised(system, record, terms.pace, store=store) as stage:
        loads = [await _one(stage, fault, terms, say) for fault in faults]
        await _rest(stage, loads)
        left = await leftovers.read(stage)
        for load in loads:
            await load.close()
    deaths = {name: part.deaths for name, part in stage.parts.items() if part.deaths}
    if deaths:
        say(f"ended by themselves and were started again: {deaths}")
    return record.close(left)


async def _one(stage: Stage, fault: Fault, terms: Terms, say: Callable[[str], None]) -> Load:
    began_s = time.monotonic()
    load = Load(stage, fault.name, at_once=terms.clients(fault), enough=terms.requests, hook=fault.hook)
    scene = Scene(fault.name, stage, load, random.Random(fault.name))
    clients = asyncio.create_task(load.run())
    made = 0
    try:
        for _ in range(terms.rounds(fault)):
            await _made(scene, fault, say)
            made += 1
    except Exception as error:  # noqa: BLE001 - the others are worth playing, and the check tells of this one
        stage.record.add(Unmade(fault=fault.name, why=repr(error)))
        say(f"{fault.name}: NOT MADE, {error!r}")
    load.stop()
    await asyncio.wait([clients, asyncio.create_task(load.enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    await fault.heal(scene)
    _heal(stage)
    try:
        await asyncio.wait_for(clients, _DRAIN_S + terms.requests)
    except TimeoutError:
        say(f"{fault.name}: {load.made - len(load.completed)} clients still wait; the check will say for what")
    await stage.is_whole()
    say(f"{fault.name}: made {made} times, {load.made} requests, {time.monotonic() - began_s:.1f} s")
    return load


async def _made(scene: Scene, fault: Fault, say: Callable[[str], None]) -> None:
    """One round. Another try is due to a machine so busy that the moment did not come, or that came to itself too late:
    that says nothing about the product, and what it did with the first one is checked all the same."""
    await _flows(scene.load)
    try:
        await fault.inject(scene)
    except TimeoutError as error:
        say(f"{fault.name}: {error!r}, made once more")
        await fault.heal(scene)
        _heal(scene.stage)
        await scene.stage.is_whole()
        await _flows(scene.load)
        await fault.inject(scene)


async def _flows(load: Load) -> None:
    """Until another request has come true, or clearly none does."""
    before = len(load.completed)

    async def another() -> bool:
        return len(load.completed) > before

    with contextlib.suppress(TimeoutError):
        await load.stage.until(another, "a request comes true", _FLOWING_S)


def _heal(stage: Stage) -> None:
    stage.world.let_go()
    for part in (*stage.parts.values(), stage.valkey):
        part.signal(signal.SIGCONT)


async def _rest(stage: Stage, loads: Sequence[Load]) -> None:
    """Until nothing is queued, running or to be told any more, or that takes too long; then all results once more."""

    async def quiet() -> bool:
        waiting = [await stage.ask("ZCARD", name) for name in leftovers.INDEXES]
        return not any(waiting) and not await stage.ask("LLEN", keys.DOORBELL)

    with contextlib.suppress(TimeoutError):
        await stage.until(quiet, "all is quiet", _REST_S)
    for load in loads:
        async with asyncio.timeout(_REST_S + len(load.completed)):
            for id in load.completed:
                await load.look_again(id, pictures=True)
