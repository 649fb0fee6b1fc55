"""`python -m training.curves OUT.png [--work DIR]`: the losses of both steps as a picture. Needs matplotlib."""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

TITLES = {"autoencoder": "autoencoder: pixels and latents", "denoiser": "text encoder and UNet: noise"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.curves", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".training"), help="where the training kept its state")
    arguments = parser.parse_args()
    mpl.use("agg")
    figure, places = plt.subplots(1, len(TITLES), figsize=(10, 3.2), layout="constrained")
    for place, (name, title) in zip(places, TITLES.items(), strict=True):
        lines = map(json.loads, (arguments.work / f"{name}.jsonl").read_text().splitlines())
        losses = {line["step"]: line["loss"] for line in lines}  # steps that were done twice count as they were last
        steps = sorted(losses)
        place.plot(steps, [losses[step] for step in steps], linewidth=1)
        place.set(title=title, xlabel="step", ylabel="loss, mean of 25 steps", yscale="log")
        place.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
