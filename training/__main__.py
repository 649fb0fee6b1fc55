"""Trains the demonstration checkpoint: `python -m training [--minutes M] [--work DIR] [--out DIR] [--start DIR]`.

Stops cleanly after the minutes are over and goes on from there when started again with the same folder. When the
autoencoder is done it writes the checkpoint, with the denoiser as far as it has come. From the checkpoint at `--start`
it takes the autoencoder and the tokenizer as they are, and the denoiser to train it further.
"""

import argparse
import random
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, KolorsImg2ImgPipeline

from training import architecture, autoencoder, denoiser, export, tokenizer
from training.run import Run

SEED = 20261122


def train_autoencoder(work: Path, deadline: float | None) -> AutoencoderKL | None:
    """The normalised average of the weights, or None if the time was over first."""
    torch.manual_seed(SEED)
    model = architecture.autoencoder().to(memory_format=torch.channels_last)
    architecture.pass_through(model)
    run = Run("autoencoder", model, work, autoencoder.PLAN, deadline)
    batches = autoencoder.batches(random.Random(SEED + run.step))
    if not run.train(batches, lambda pictures: autoencoder.loss_of(model, pictures)):
        return None
    sample = torch.cat([next(autoencoder.batches(random.Random(SEED + k))) for k in range(8)])
    autoencoder.normalise(run.averaged, sample)
    return run.averaged


def train_denoiser(
    work: Path,
    encoder: AutoencoderKL,
    captions: denoiser.Captions,
    deadline: float | None,
    trained: KolorsImg2ImgPipeline | None,
) -> Run:
    torch.manual_seed(SEED + 1)
    model = denoiser.Denoiser()
    if trained:
        model.text_encoder.load_state_dict(trained.text_encoder.state_dict())
        model.unet.load_state_dict(trained.unet.state_dict())
    albums = {kind: denoiser.album(encoder, kind, work, SEED) for kind in denoiser.KINDS}
    run = Run("denoiser", model, work, denoiser.FURTHER if trained else denoiser.PLAN, deadline)
    batches = denoiser.batches(albums, captions, random.Random(SEED + run.step))
    run.train(batches, lambda batch: denoiser.loss_of(model, batch))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; start again to go on")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="where the state is kept")
    parser.add_argument("--out", type=Path, default=Path(".training/checkpoint"), help="where the checkpoint goes")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.minutes * 60 if arguments.minutes else None
    trained = KolorsImg2ImgPipeline.from_pretrained(arguments.start, dtype=torch.float32) if arguments.start else None
    encoder = trained.vae if trained else train_autoencoder(arguments.work, deadline)
    if encoder is None:
        return
    words = trained.tokenizer if trained else tokenizer.build(arguments.work, SEED)
    run = train_denoiser(arguments.work, encoder, denoiser.Captions(words), deadline, trained)
    export.write(arguments.out, encoder, run.averaged, words)


if __name__ == "__main__":
    main()
