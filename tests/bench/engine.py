"""Sixteen mixed requests through the engine, beside the stock pipeline called once for each: one process, by turns.

    python -m tests.bench.engine [--model random] [--sizes 128 256 512] [--rounds 3] [--threads 1]

Prints, for each size, the medians over the rounds of both times and of their quotient of the same round (once more in
processor time, which other work on the machine disturbs less), what the engine's thread did in its steps besides
calling the UNet and preparing requests, as a share of the UNet's own time, the share of the time in which it had work,
and how many times faster it is when the same requests come again, whose prompts it remembers. Then what a row costs in
calls of the UNet that have so many, of which the gain is made: processor time, the best of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.unit.engine.jobs import job, picture, unheard
from tests.unit.engine.stock import Stock
from worker.engine import runner as runners
from worker.engine.engine import Engine
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, built_in, open_checkpoint
from worker.model.denoiser import Denoiser
from worker.model.graphs import Said
from worker.model.solver import NAMES

REQUESTS = 16
ROWS = (2, 4, 8, 16, 32)


def mixed(size: int, round_: int) -> list[Job]:
    """All six solvers, strengths of .3 to 1, 10 to 40 steps, with and without guidance, one picture or two."""
    return [
        job(
            id=f"{round_}-{k}",
            image=picture(size, size, seed=k),
            prompt=f"a photo of a cat, number {k} of round {round_}",
            negative_prompt=("", "ugly, blurry")[k % 2],
            strength=(0.85, 0.5, 1.0, 0.3)[k % 4],
            steps=10 + 2 * k,
            guidance_scale=(5.0, 7.5, 1.0)[k % 3],
            seed=1000 * round_ + k,
            images=1 + (k % 8 == 7),
            solver=NAMES[k % 6],
            check_safety=False,
        )
        for k in range(REQUESTS)
    ]


@dataclass(frozen=True, slots=True)
class Spent:
    wall_s: float
    cpu_s: float


def spend(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


class TimedEngine(Engine[Any, Any]):
    """Knows how long its steps took, all in all."""

    stepping_s = 0.0

    def step(self) -> bool:
        began_s = time.perf_counter()
        try:
            return super().step()
        finally:
            self.stepping_s += time.perf_counter() - began_s


class TimedUNet(Denoiser):
    """Knows how long the model took."""

    painting_s = 0.0

    def __call__(self, *given: Any, **options: Any) -> Said:
        began_s = time.perf_counter()
        try:
            return super().__call__(*given, **options)
        finally:
            TimedUNet.painting_s += time.perf_counter() - began_s


@dataclass(frozen=True, slots=True)
class Engaged:
    """`outside` is the engine's own share of its steps, as a multiple of the UNet's."""

    spent: Spent
    outside: float
    busy: float


def by_engine(runner: TorchRunner, jobs: list[Job]) -> Engaged:
    engine, TimedUNet.painting_s = TimedEngine(runner), 0.0
    engine.start()
    spent = spend(lambda: wait([engine.submit(one, unheard) for one in jobs]))
    stats, unet_s = engine.stats(), TimedUNet.painting_s
    return Engaged(spent, (engine.stepping_s - stats.prepare_s - unet_s) / unet_s, stats.busy_share)


def by_stock(stock: Stock, jobs: list[Job]) -> Spent:
    return spend(lambda: [stock.paint(one) for one in jobs])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", choices=("random", "tiny"), default="random")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        stock = Stock.open(built_in(wanted.model, Path(cache)))
        with patch.object(runners, "Denoiser", TimedUNet):
            runner = TorchRunner(open_checkpoint(Wanted(source=wanted.model, cache=Path(cache), device="cpu")))
    torch.set_num_threads(wanted.threads)
    print("size | stock s | engine s | times faster (each round) | by processor time | outside / UNet | busy | again")
    for size in wanted.sizes:
        measure(stock, runner, size, wanted.rounds)
    print("size |", " | ".join(f"ms a row of {rows}" for rows in ROWS))
    for size in wanted.sizes:
        print(f"{size:4d} |", " | ".join(f"{ms:.1f}" for ms in row_ms(runner, size, wanted.rounds)), flush=True)


def measure(stock: Stock, runner: TorchRunner, size: int, rounds: int) -> None:
    by_engine(runner, mixed(size, 0)[:2])
    by_stock(stock, mixed(size, 0)[:2])
    pairs: list[tuple[Spent, Engaged]] = []
    again: list[float] = []
    for round_ in range(1, rounds + 1):
        jobs = mixed(size, round_)
        theirs = by_stock(stock, jobs)
        pairs.append((theirs, ours := by_engine(runner, jobs)))
        again.append(ours.spent.wall_s / by_engine(runner, jobs).spent.wall_s)
    median = statistics.median
    gains = [theirs.wall_s / ours.spent.wall_s for theirs, ours in pairs]
    print(
        f"{size:4d} | {median(theirs.wall_s for theirs, _ in pairs):7.2f}"
        f" | {median(ours.spent.wall_s for _, ours in pairs):8.2f}"
        f" | {median(gains):.2f} ({', '.join(f'{gain:.2f}' for gain in gains)})"
        f" | {median(theirs.cpu_s / ours.spent.cpu_s for theirs, ours in pairs):.2f}"
        f" | {median(ours.outside for _, ours in pairs):.1%}"
        f" | {median(ours.busy for _, ours in pairs):.0%}"
        f" | {median(again):.2f}",
        flush=True,
    )


def row_ms(runner: TorchRunner, size: int, rounds: int) -> list[float]:
    """For each of `ROWS`, by guided requests of one picture, which have two each."""
    key = runner.key(size, size, precise=False)
    guided = job(image=picture(size, size), guidance_scale=5.0)
    states = [runner.prepare(guided, key) for _ in range(max(ROWS) // 2)]

    def best_s(rows: int) -> float:
        few = states[: rows // 2]
        return min(spend(lambda: runner.predict(few, slots=len(few))).cpu_s for _ in range(rounds))

    return [1000 * best_s(rows) / rows for rows in ROWS]


if __name__ == "__main__":
    main()
