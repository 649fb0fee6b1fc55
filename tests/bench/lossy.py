"""What the lossy settings save on a processor, and what they do to the pictures of the tiny model.

    python -m tests.bench.lossy [--side 256] [--steps 50] [--scenes 3] [--sheet OUT.png]

Every way paints the same requests, in turns. Prints the medians of the quotients of processor time, exact / lossy, and
how far the pictures are from the exact ones, beside how far those of the next seed are. fp8 is emulated on a processor:
its time says nothing.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.bench.device.painting import paint
from tests.integration.painting.scenery import summer_day
from tests.unit.engine.jobs import job
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.tuning import Tuning

WAYS = {
    "LOSSY_STEP_CACHE=2": Tuning(lossy_step_cache=2),
    "LOSSY_STEP_CACHE=3": Tuning(lossy_step_cache=3),
    "LOSSY_STEP_CACHE=5": Tuning(lossy_step_cache=5),
    "LOSSY_FP8": Tuning(lossy_fp8=True),
    "LOSSY_FP8, LOSSY_STEP_CACHE=3": Tuning(lossy_fp8=True, lossy_step_cache=3),
}
PROMPTS = ("night, moon and stars", "covered with snow, winter", "a red house, summer, a sunny day")


@dataclass(frozen=True, slots=True)
class Result:
    cpu_s: float
    picture: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]"

    def psnr(self, other: "Result") -> float:
        """Decibels."""
        gap = self.picture.astype(float) - other.picture
        return float(10 * np.log10(255**2 / np.square(gap).mean()))


def painted(runner: TorchRunner, one: Job) -> Result:
    began_s = time.process_time()
    pixels = paint(runner, one).pixels
    return Result(time.process_time() - began_s, pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--sheet", type=Path, help="the pictures of the first scene, a row a prompt, exact ones first")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = open_checkpoint(Wanted(source="tiny", cache=Path(), device="cpu"))
    exact = TorchRunner(checkpoint, tuning=Tuning())
    runners = {name: TorchRunner(checkpoint, tuning=tuning) for name, tuning in WAYS.items()}
    jobs = [
        job(image=summer_day(scene, asked.side).picture, prompt=prompt, steps=asked.steps, seed=scene)
        for scene, prompt in product(range(asked.scenes), PROMPTS)
    ]
    for runner in (exact, *runners.values()):
        painted(runner, jobs[0])
    wanted = [painted(exact, one) for one in jobs]
    strangers = [painted(exact, job(**{**_asked(one), "seed": one.seed + 1})) for one in jobs]
    made = {name: [painted(runner, one) for one in jobs] for name, runner in runners.items()}
    print(f"the next seed's picture: {_apart(strangers, wanted)}")
    for name, results in made.items():
        gains = [one.cpu_s / other.cpu_s for one, other in zip(wanted, results, strict=True)]
        spread = f"{statistics.median(gains):.2f} times ({min(gains):.2f} to {max(gains):.2f})"
        print(f"{name}: {spread}, {_apart(results, wanted)}")
    if asked.sheet:
        _sheet([wanted, *made.values()], asked.side).save(asked.sheet)


def _asked(one: Job) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("image", "prompt", "steps")}


def _apart(results: list[Result], wanted: list[Result]) -> str:
    decibels = sorted(one.psnr(other) for one, other in zip(results, wanted, strict=True))
    return f"PSNR {statistics.median(decibels):.1f} dB ({decibels[0]:.1f} to {decibels[-1]:.1f})"


def _sheet(columns: list[list[Result]], side: int) -> Image.Image:
    sheet = Image.new("RGB", (len(columns) * side, len(PROMPTS) * side))
    for column, row in product(range(len(columns)), range(len(PROMPTS))):
        sheet.paste(Image.fromarray(columns[column][row].picture), (column * side, row * side))
    return sheet


if __name__ == "__main__":
    main()
