"""Both steps of the training, one after the other, and the checkpoint that they make."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import architecture, autoencoder, denoiser, export, kept, tokenizer
from training.run import SEED, Place, Plan, Run
from worker.model.libraries import KolorsImg2ImgPipeline


@dataclass(frozen=True, slots=True)
class Recipe:
    """Plans of step 1 and of step 2, of step 2 for a denoiser that is trained already, and the scenes to draw."""

    first: Plan = autoencoder.PLAN
    second: Plan = denoiser.PLAN
    further: Plan = denoiser.FURTHER
    kinds: tuple[denoiser.Kind, ...] = denoiser.KINDS


RECIPE = Recipe()


def train(place: Place, out: Path, start: Path | None = None, recipe: Recipe = RECIPE) -> bool:
    """Until everything is trained (True) or until the time is over (False): then it is called again to go on.

    As soon as the autoencoder is trained and the scenes are drawn it writes the checkpoint, with the denoiser as far as
    it has come. From the checkpoint `start` it takes the autoencoder and the tokenizer as they are, and the denoiser to
    train it further. Raises `AnotherTraining`.
    """
    started: Any = KolorsImg2ImgPipeline.from_pretrained(start, dtype=torch.float32) if start else None
    if started:
        encoder, origin = started.vae.to(place.device), kept.origin_of(started.vae)
    elif trained := _autoencoder(place, recipe.first):
        encoder, origin = trained
    else:
        return False
    words: Any = started.tokenizer if started else tokenizer.build(place.folder, SEED)
    run = _denoiser(place, recipe, started, origin)
    albums: dict[denoiser.Kind, denoiser.Album] = {}
    for kind in recipe.kinds:
        album = denoiser.album(encoder, origin, kind, place)
        if album is None:
            return False
        albums[kind] = album
    captions = denoiser.Captions(words)
    finished = run.train(
        lambda rng: denoiser.batch(albums, captions, rng), lambda batch: denoiser.loss_of(run.model, batch)
    )
    export.write(out, encoder, run.averaged, words)
    return finished


def _autoencoder(place: Place, plan: Plan) -> tuple[Any, str] | None:
    """The normalised average of the weights and its origin, or None if the time was over first."""
    torch.manual_seed(SEED)  # pyright: ignore[reportUnknownMemberType]
    model = architecture.autoencoder().to(memory_format=torch.channels_last)
    architecture.pass_through(model)
    run = Run("autoencoder", model, place, plan)
    if not run.train(autoencoder.batch, lambda pictures: autoencoder.loss_of(model, pictures)):
        return None
    origin = kept.origin_of(run.averaged)  # as it is in the file: what normalises it may round otherwise next time
    sample = torch.cat([autoencoder.batch(random.Random(SEED + k)) for k in range(8)])
    autoencoder.normalise(run.averaged, sample.to(place.device))
    return run.averaged, origin


def _denoiser(place: Place, recipe: Recipe, started: Any, encoder: str) -> Run:
    """`encoder` is the origin of the autoencoder."""
    torch.manual_seed(SEED + 1)  # pyright: ignore[reportUnknownMemberType]
    model = denoiser.Denoiser()
    if started:
        model.text_encoder.load_state_dict(started.text_encoder.state_dict())
        model.unet.load_state_dict(started.unet.state_dict())
    return Run("denoiser", model, place, recipe.further if started else recipe.second, encoder)
