"""What can be measured of a running stage from outside: its processes, Redis, its store, and how long clients waited.

Owns the names of the quantities: `{of what} {unit}`. Draws no conclusions.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import quantiles
from typing import cast

from shared.queue import keys
from tests.chaos import leftovers
from tests.chaos.history import Ack, Answer, Entry, Try
from tests.chaos.stage import Stage

_MIB = 1024 * 1024
_COUNTED = (keys.FILES, keys.WEBHOOKS, keys.LEASES, keys.QUEUE)


async def read(stage: Stage, lately: Iterable[Entry]) -> dict[str, float]:
    """Everything, now; `lately` are the entries since the last time, of which the latencies are."""
    values: dict[str, float] = {}
    for part in (stage.valkey, *stage.parts.values()):
        values |= {f"{part.name} {what}": value for what, value in process(part.pid).items()}
    values |= await redis(stage)
    values["store files"] = len(await asyncio.to_thread(stage.store.files))
    return values | latencies(lately)


def process(pid: int) -> dict[str, float]:
    """Of a process and its children; memory is its own, and of what they share its part. Not counted are mapped files,
    for each other process on the machine that has the same ones open makes a part of them smaller."""
    values: Counter[str] = Counter()
    for each in _family(pid):
        proc = Path(f"/proc/{each}")
        rollup = (proc / "smaps_rollup").read_text().splitlines()
        values["fds"] += sum(1 for _ in (proc / "fd").iterdir())
        values["threads"] += sum(1 for _ in (proc / "task").iterdir())
        values["KiB"] += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:"))
    return {"fds": values["fds"], "threads": values["threads"], "MiB": values["KiB"] / 1024}


def _family(pid: int) -> list[int]:
    """It and all below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


async def redis(stage: Stage) -> dict[str, float]:
    """Its memory, and how many keys of each kind and members of each index there are."""
    used = cast("dict[str, float]", await stage.ask("INFO", "memory"))["used_memory"]
    kinds = Counter([kind(name) async for name in leftovers.names(stage)])
    values: dict[str, float] = {"redis used MiB": used / _MIB, "all keys": kinds.total()}
    values |= {f"{name} keys": kinds[name] for name in ("request", "events", "idempotency", "claim", "other")}
    for index in _COUNTED:
        values[f"{index.removeprefix(keys.PREFIX)} index"] = float(cast("int", await stage.ask("ZCARD", index)))
    return values


def kind(name: str) -> str:
    """What a key is of: one that each request has, or other."""
    first = name.removeprefix(keys.PREFIX).partition(":")[0]
    return first if first in {"request", "events", "idempotency", "claim"} else "other"


def latencies(entries: Iterable[Entry]) -> dict[str, float]:
    """From a submit's first try to its acknowledgement, and to the client's having its result, in ms."""
    tried: dict[str, int] = {}
    tokens: dict[str, str] = {}
    submits: list[float] = []
    results: list[float] = []
    for entry in entries:
        if isinstance(entry, Try):
            tried.setdefault(entry.token, entry.at_ms)
        elif isinstance(entry, Ack) and entry.token in tried:
            tokens[entry.request] = entry.token
            submits.append(entry.at_ms - tried[entry.token])
        elif isinstance(entry, Answer) and entry.request in tokens:
            results.append(entry.at_ms - tried[tokens.pop(entry.request)])
    return _middle_and_tail("submit", submits) | _middle_and_tail("result", results)


def _middle_and_tail(name: str, values_ms: list[float]) -> dict[str, float]:
    if len(values_ms) < 2:
        return {}
    cuts = quantiles(values_ms, n=20)
    return {f"{name} p50 ms": cuts[9], f"{name} p95 ms": cuts[18]}
