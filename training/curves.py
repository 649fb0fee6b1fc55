"""`python -m training.curves OUT.png [WORK …]`: the losses of trainings, by their working folders, as a picture. Needs
matplotlib."""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
import argparse
import json
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

TITLES = {"autoencoder": "autoencoder: pixels and latents", "denoiser": "text encoder and UNet: noise"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.curves", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("works", type=Path, nargs="*", default=[Path(".training")], help="where trainings kept theirs")
    arguments = parser.parse_args()
    logs = [(work / f"{name}.jsonl", title) for work in arguments.works for name, title in TITLES.items()]
    shown = [(log, title) for log, title in logs if log.exists()]
    mpl.use("agg")
    figure, places = plt.subplots(1, len(shown), figsize=(5 * len(shown), 3.2), layout="constrained", squeeze=False)
    for place, (log, title) in zip(places[0], shown, strict=True):
        lines = map(json.loads, log.read_text().splitlines())
        losses = {line["step"]: line["loss"] for line in lines}  # steps that were done twice count as they were last
        steps = sorted(losses)
        place.plot(steps, [losses[step] for step in steps], linewidth=1)
        place.set(title=title, xlabel="step", ylabel="loss, mean of 25 steps", yscale="log")
        place.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
