"""What each way to take the steps gains on a processor over the way that is taken there, and how it moves the pictures.

    python -m tests.bench.ways [--model random] [--size 128] [--rounds 3] [--ways WAY ...]

Paints the sixteen mixed requests of `tests.bench.engine` together, and the first of them alone: all ways by turns, in
one process, with weights of their own. Prints for both the medians over the rounds of the usual way's time over this
one's, by wall clock and by processor time, and the largest difference of two pictures in grey levels of 255. The usual
way is there twice: how far its quotients are from 1 is the noise of the others.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

from tests.bench.device.painting import Pixels, levels_apart
from tests.bench.engine import Spent, mixed, spend
from tests.unit.engine.jobs import unheard
from worker.engine import runner as runners
from worker.engine.engine import Engine
from worker.engine.job import Job, Painting
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint
from worker.model.together import Move, step_alone
from worker.model.tuning import Tuning

STOCK: Final = Tuning()
USUAL: Final = "usual"


@dataclass(frozen=True, slots=True)
class Way:
    """`around` is entered while it paints."""

    tuning: Tuning = STOCK
    fixed_rows: int | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def one_by_one() -> AbstractContextManager[object]:
    """In company, too, each request is stepped by its own diffusers instance."""

    def step_each(moves: Sequence[Move], _: object) -> list[torch.Tensor]:
        return [step_alone(move) for move in moves]

    return patch.object(runners, "step_together", step_each)


@contextmanager
def two_threads() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def without_onednn() -> AbstractContextManager[object]:
    return torch.backends.mkldnn.flags(enabled=False)


WAYS: Final = {
    USUAL: Way(),
    "solvers-one-by-one": Way(around=one_by_one),
    "prompt-once": Way(Tuning(prompt_once=True)),
    "fused-qkv": Way(Tuning(fused_qkv=True)),
    "channels-last": Way(Tuning(channels_last=True)),
    "without-onednn": Way(around=without_onednn),
    "two-threads": Way(around=two_threads),
    **{f"fixed-rows-{rows}": Way(Tuning(stock_steps=False), fixed_rows=rows) for rows in (2, 4, 8, 16, 32)},
}


@dataclass(frozen=True, slots=True)
class Painted:
    spent: Spent
    pictures: list[Pixels]


@dataclass(frozen=True, slots=True)
class Beside:
    """One way's beside the usual way's of the same round."""

    wall: float
    cpu: float
    levels: float

    @classmethod
    def of(cls, painted: Painted, usual: Painted) -> "Beside":
        return cls(
            usual.spent.wall_s / painted.spent.wall_s,
            usual.spent.cpu_s / painted.spent.cpu_s,
            max(
                levels_apart(mine, its)["levels_most"]
                for mine, its in zip(painted.pictures, usual.pictures, strict=True)
            ),
        )


class Painter:
    """Has weights of its own: some ways lay them out anew."""

    def __init__(self, way: Way, checkpoint: Checkpoint) -> None:
        unet, vae = copy.deepcopy((checkpoint.unet, checkpoint.vae))
        own = replace(checkpoint, unet=unet, vae=vae)
        self._runner = TorchRunner(own, tuning=way.tuning, fixed_rows=way.fixed_rows)
        self._around = way.around

    def paint(self, jobs: Sequence[Job]) -> Painted:
        engine: Engine[Any, Any] = Engine(self._runner)
        futures: list[Future[Painting]] = []

        def all_of_them() -> None:
            futures.extend(engine.submit(one, unheard) for one in jobs)
            wait(futures)

        with self._around():
            engine.start()
            spent = spend(all_of_them)
        pictures = [picture for future in futures for picture in future.result().pictures]
        return Painted(spent, [np.asarray(picture) for picture in pictures])


def main(given: Sequence[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", choices=("random", "tiny"), default="random")
    arguments.add_argument("--size", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    asked = arguments.parse_args(given)
    with tempfile.TemporaryDirectory() as cache:
        checkpoint = open_checkpoint(Wanted(source=asked.model, cache=Path(cache), device="cpu"))
    usual = Painter(WAYS[USUAL], checkpoint)
    painters = {name: Painter(WAYS[name], checkpoint) for name in asked.ways}
    for painter in (usual, *painters.values()):
        painter.paint(mixed(asked.size, 0)[:2])
    made: dict[str, list[tuple[Beside, ...]]] = {name: [] for name in painters}
    for round_ in range(1, asked.rounds + 1):
        crowd = mixed(asked.size, round_)
        loads = (crowd, crowd[:1])
        wanted = [usual.paint(load) for load in loads]
        for name, painter in painters.items():
            pairs = zip(loads, wanted, strict=True)
            made[name].append(tuple(Beside.of(painter.paint(load), known) for load, known in pairs))
    print("way | sixteen together: wall, processor, levels | one alone: wall, processor, levels")
    for name, rounds in made.items():
        print(" | ".join([name, *(in_words(results) for results in zip(*rounds, strict=True))]))


def in_words(rounds: Sequence[Beside]) -> str:
    wall, cpu = (statistics.median(getattr(one, clock) for one in rounds) for clock in ("wall", "cpu"))
    each = ", ".join(f"{one.wall:.2f}" for one in rounds)
    return f"{wall:.2f} ({each}), {cpu:.2f}, {max(one.levels for one in rounds):.0f}"


if __name__ == "__main__":
    main()
