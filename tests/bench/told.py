"""How often the tiny model does as it is told, on landscapes that it was not trained on.

    python -m tests.bench.told [--checkpoint DIR] [--seeds 30] [--side 128]

Each seed is a noise and a landscape. Prints for each prompt how often its promise of docs/tiny.md is kept, and by how
much: the least, the median and the most. Autoencoder and sizes are the tests' matter (tests/integration/painting).
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.integration.painting.scenery import summer_day
from tests.integration.painting.told import PROMISES, margins
from worker.engine.engine import Engine
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--side", type=int, default=128)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        checkpoint = open_checkpoint(
            Wanted(source=asked.checkpoint, cache=Path(cache), device="cpu", dtype="float32", safety_checker="off")
        )
    engine: Engine[Any, Any] = Engine(TorchRunner(checkpoint))
    engine.start()
    for name, promise in PROMISES.items():
        made = [margins(engine, summer_day(seed, asked.side), promise) for seed in range(asked.seeds)]
        for prompt in promise.prompts:
            shown = sorted(each[prompt] for each in made)
            kept = sum(margin >= promise.least for margin in shown)
            spread = f"{shown[0]:.0f}, {statistics.median(shown):.0f}, {shown[-1]:.0f}"
            print(f"{name}, {prompt!r}: {kept} of {asked.seeds} by {promise.least:.0f} and more ({spread})", flush=True)
    engine.close(wait=True)


if __name__ == "__main__":
    main()
