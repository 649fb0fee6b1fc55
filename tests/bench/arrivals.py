"""Latency under Poisson arrivals: step-level batching, request-level batching of equal requests, and one at a time.

    python -m tests.bench.arrivals [--model random] [--mixed] [--size 64] [--requests 120] [--loads .5 .8 .95]
                                   [--slots 16]

The requests are of four kinds of steps and strength, so that a batch of equal ones can be found; with `--mixed` they
are drawn from the sixteen of `tests.bench.engine`, which differ in everything. All three get the same requests at the
same moments, in one process, one after the other. Load is a share of what the step-level engine can do when it always
has work, measured first. Latency counts from arrival to decoded pictures.
"""

import argparse
import queue
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from tests.bench.engine import mixed
from tests.unit.engine.jobs import job, picture, unheard
from worker.engine.engine import Engine
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.solver import NAMES

Kind = Callable[[int, int], list[Job]]
_kind_of = attrgetter("steps", "strength", "solver", "guidance_scale")
KINDS = [(8, 0.85), (12, 0.5), (20, 0.85), (20, 1.0)]
Policy = Callable[[TorchRunner, Sequence[tuple[float, Job]]], list[float]]


def simple(size: int, k: int) -> list[Job]:
    """One of each kind; the k-th request is one of these."""
    return [
        job(
            image=picture(size, size, seed=k % 10),
            prompt=f"prompt {k % 10}",
            steps=steps,
            strength=strength,
            guidance_scale=5.0,
            seed=k,
            solver=NAMES[0],
            check_safety=False,
        )
        for steps, strength in KINDS
    ]


def requests(kind: Kind, count: int, size: int, seed: int) -> list[Job]:
    dice = random.Random(seed)
    return [replace(dice.choice(kind(size, k)), id=str(k)) for k in range(count)]


def arrivals(jobs: Sequence[Job], per_s: float) -> list[tuple[float, Job]]:
    dice, at_s, line = random.Random(1), 0.0, list[tuple[float, Job]]()
    for one in jobs:
        at_s += dice.expovariate(per_s)
        line.append((at_s, one))
    return line


def play(line: Sequence[tuple[float, Job]], arrive: Callable[[Job], None]) -> float:
    """Calls `arrive` for each when its time has come. Returns when it began."""
    began = time.monotonic()
    for at_s, one in line:
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        arrive(one)
    return began


def started(runner: TorchRunner, jobs: Sequence[Job]) -> Engine[Any, Any]:
    """An engine whose threads have painted these: what a thread sets up the first time is nobody's latency."""
    engine: Engine[Any, Any] = Engine(runner)  # never closed: the runner would go with it
    engine.start()
    wait([engine.submit(one, unheard) for one in jobs])
    return engine


def step_level(runner: TorchRunner, line: Sequence[tuple[float, Job]]) -> list[float]:
    """Whoever arrives joins at the next step."""
    engine = started(runner, [one for _, one in line[:2]])
    ended: dict[str, float] = {}

    def arrive(one: Job) -> None:
        future = engine.submit(one, unheard)
        futures.append(future)
        future.add_done_callback(lambda _: ended.update({one.id: time.monotonic()}))

    futures: list[Any] = []
    began = play(line, arrive)
    wait(futures)
    return [ended[one.id] - began - at_s for at_s, one in line]


def by_request(most: int) -> Policy:
    """Up to `most` waiting requests of equal steps, strength, solver and guidance, oldest first, from their first step
    to their last."""

    def run(runner: TorchRunner, line: Sequence[tuple[float, Job]]) -> list[float]:
        engine = started(runner, [one for _, one in line[:2]])
        arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        ended: dict[str, float] = {}

        def serve() -> None:
            waiting: list[Job] = []
            while len(ended) < len(line):
                if not waiting:
                    waiting.append(arrived.get())
                while not arrived.empty():
                    waiting.append(arrived.get())
                group = [one for one in waiting if _kind_of(one) == _kind_of(waiting[0])][:most]
                waiting = [one for one in waiting if one not in group]
                wait([engine.submit(one, unheard) for one in group])
                ended.update({one.id: time.monotonic() for one in group})

        server = threading.Thread(target=serve)
        server.start()
        began = play(line, arrived.put)
        server.join()
        return [ended[one.id] - began - at_s for at_s, one in line]

    return run


def capacity(runner: TorchRunner, kind: Kind, size: int, slots: int) -> float:
    """Requests a second of the step-level engine that always has work."""
    jobs = requests(kind, 3 * slots, size, seed=9)
    engine = started(runner, jobs[:2])
    began = time.monotonic()
    wait([engine.submit(one, unheard) for one in jobs])
    return len(jobs) / (time.monotonic() - began)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="random")
    arguments.add_argument("--mixed", action="store_true")
    arguments.add_argument("--size", type=int, default=64)
    arguments.add_argument("--requests", type=int, default=120)
    arguments.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    arguments.add_argument("--slots", type=int, default=16)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        checkpoint = open_checkpoint(Wanted(source=wanted.model, cache=Path(cache), device="cpu"))
    runner = TorchRunner(checkpoint, step_px=wanted.slots * wanted.size**2)
    kind: Kind = mixed if wanted.mixed else simple
    per_s = capacity(runner, kind, wanted.size, wanted.slots)
    print(f"capacity: {per_s:.1f} requests a second of {wanted.size}x{wanted.size}, {wanted.slots} slots")
    print("load | policy | p50 s | p95 s")
    policies: dict[str, Policy] = {
        "step level": step_level,
        "equal requests": by_request(wanted.slots),
        "one at a time": by_request(1),
    }
    for load in wanted.loads:
        line = arrivals(requests(kind, wanted.requests, wanted.size, seed=2), load * per_s)
        for name, policy in policies.items():
            latencies = sorted(policy(runner, line))
            p95 = latencies[int(0.95 * len(latencies))]
            print(f"{load:.0%} | {name} | {statistics.median(latencies):.2f} | {p95:.2f}", flush=True)


if __name__ == "__main__":
    main()
