"""Trains the demonstration checkpoint: `python -m training [--minutes M] [--work DIR] [--out DIR] [--start DIR]`.

Stops cleanly after the minutes are over and goes on from there when started again with the same folder. A folder that
holds the state of another training is refused. The code runs on a GPU with `--device auto`, but was never tried there.
"""

import argparse
import time
from pathlib import Path

import torch

from training.kept import AnotherTraining
from training.run import Place
from training.train import train


def main(words: list[str] | None = None) -> None:
    """`words` are the command's, for its own."""
    parser = argparse.ArgumentParser(prog="python -m training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; start again to go on")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="where the state is kept")
    parser.add_argument("--out", type=Path, default=Path(".training/checkpoint"), help="where the checkpoint goes")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from, in a --work of its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu", help="auto: a GPU where there is one")
    arguments = parser.parse_args(words)
    if arguments.start and not (arguments.start / "model_index.json").is_file():
        parser.error(f"--start {arguments.start}: there is no checkpoint")
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + arguments.minutes * 60 if arguments.minutes else float("inf")
    device = torch.device("cuda" if arguments.device == "auto" and torch.cuda.is_available() else "cpu")
    try:
        train(Place(arguments.work, device, lambda: time.monotonic() > end), arguments.out, arguments.start)
    except AnotherTraining as refusal:
        parser.error(str(refusal))


if __name__ == "__main__":
    main()
