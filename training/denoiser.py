"""Step 2: text encoder and UNet learn together to see the noise in the latents of a captioned scene.

    loss = w(t) · mean (ε - ε')² + 4 · mean (pool₄(ε - ε'))² + 8 · mean (pool₈(ε - ε'))²

w is min(SNR, 5) / SNR but at least 0.1 (Hang et al., "Efficient Diffusion Training via Min-SNR Weighting
Strategy", 2023). The other terms weigh the error's slow parts, which the colours of a house and of a sky hang on.
One caption in eight is replaced by the empty prompt, so that guidance has something to push away from.

Half of the others are edits, the states that image-to-image passes through: the noise holds what a run that began at a
step t₀ ≥ t with another picture of the same place leaves of it until the end, r(t₀) · (other - picture), where r is
√(ᾱ / (1 - ᾱ)). The caption names what is different. Without these, the words are never at odds with what shows through
the noise, and the model learns to believe its eyes.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import architecture, kept
from training.autoencoder import to_tensor
from training.drawing import draw
from training.run import SEED, Place, Plan
from training.scenes import Scene, caption, close_up, compose, differences, sibling
from training.tokenizer import PROMPT_TOKENS
from worker.model.architecture import SCALING_FACTOR, noise_schedule

PLAN = Plan(steps=11500, learning_rate=1e-3, warm_up=200)
FURTHER = Plan(steps=2000, learning_rate=5e-4, warm_up=200)
"""For weights that are trained already."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`count` scenes of `width` by `height` pixels, taken `batch` at a time in `share` of the steps."""

    name: str
    width: int
    height: int
    count: int
    batch: int
    share: float
    composed: Callable[[random.Random], Scene] = compose


KINDS = (
    Kind("256x256", 256, 256, 1500, 12, 0.3),
    Kind("128x128", 128, 128, 4000, 40, 0.3),
    Kind("192x128", 192, 128, 500, 24, 0.05),
    Kind("128x192", 128, 192, 500, 24, 0.05),
    Kind("close-ups", 128, 128, 1200, 40, 0.3, close_up),
)
KEPT: Tensor = noise_schedule().alphas_cumprod
"""(timesteps,) How much of the picture's variance is left at each."""
EMPTY = 1 / 8
EDITS = 1 / 2
EDITED_FROM = 600
"""The last step at which an edit begins: at lower strengths the picture is meant to stay."""
LENGTHS = {48: 0.75, PROMPT_TOKENS: 0.25}
"""Tokens a caption is padded to -> share of the steps. Kolors always pads to 256, at half again the cost of a step."""


@dataclass(frozen=True, slots=True)
class Album:
    """Pairs of scenes of one size, of one place each, and their latents, (pairs, 2, 4, height / 8, width / 8), already
    scaled, in fp16."""

    pairs: list[tuple[Scene, Scene]]
    latents: Tensor


def pairs_of(kind: Kind) -> list[tuple[Scene, Scene]]:
    """The scenes of a kind, always the same, each with a sibling."""
    rng = random.Random(f"{SEED} {kind.name}")
    scenes = [kind.composed(rng) for _ in range(kind.count)]
    return [(scene, sibling(scene, rng)) for scene in scenes]


@torch.no_grad()
def album(autoencoder: Any, encoder: str, kind: Kind, place: Place) -> Album | None:
    """Draws the scenes of one kind and encodes them, once: they are kept. None if the time is over first; then it goes
    on from there later. Raises `AnotherTraining` if what was kept is of another `encoder`, which is the autoencoder's
    origin, or of other scenes.
    """
    pairs = pairs_of(kind)
    file = place.folder / f"pairs-{kind.name}.pt"
    origin = kept.origin_of(encoder, kind.name, kind.width, kind.height, kind.count)
    saved = kept.load(file, origin)
    parts: list[Tensor] = []
    if saved:
        parts.append(saved["latents"])
    before = done = sum(map(len, parts))
    while done < kind.count and not place.over():
        drawn = [draw(scene, kind.width, kind.height) for pair in pairs[done : done + 10] for scene in pair]
        pictures = torch.stack([to_tensor(picture) for picture in drawn]).to(memory_format=torch.channels_last)
        latents: Tensor = autoencoder.encode(pictures.to(place.device)).latent_dist.mean * SCALING_FACTOR
        parts.append(latents.half().cpu().view(-1, 2, *latents.shape[1:]))
        done += len(parts[-1])
    if done > before:
        kept.save(file, origin, {"latents": torch.cat(parts)})
    return Album(pairs, torch.cat(parts)) if done == kind.count else None


class Denoiser(nn.Module):
    """Text encoder and UNet as one thing to train: noisy latents and tokens -> the noise in them."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = architecture.text_encoder()
        self.unet = architecture.unet().to(memory_format=torch.channels_last)
        architecture.start_quietly(self.unet)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        """noisy (n, 4, h, w), timesteps (n,), tokens: input_ids, attention_mask, position_ids (n, 256) each."""
        states = self.text_encoder(**tokens, output_hidden_states=True, use_cache=False, return_dict=True).hidden_states
        count, _, height, width = noisy.shape
        size = [float(height * 8), float(width * 8)]
        sizes = torch.tensor([[*size, 0, 0, *size]], device=noisy.device)
        conditions = {"text_embeds": states[-1][-1], "time_ids": sizes.expand(count, -1)}
        embeds = states[-2].permute(1, 0, 2)
        return self.unet(noisy, timesteps, encoder_hidden_states=embeds, added_cond_kwargs=conditions).sample


class Captions:
    """Text -> tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def tokens(self, texts: list[str], length: int = PROMPT_TOKENS) -> dict[str, Tensor]:
        """input_ids, attention_mask and position_ids, (texts, length) each, padded on the left as Kolors does."""
        made: Any = self._tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return {name: made[name] for name in ("input_ids", "attention_mask", "position_ids")}


@dataclass(frozen=True, slots=True)
class Batch:
    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    tokens: dict[str, Tensor]

    def to(self, device: torch.device) -> "Batch":
        tokens = {name: tensor.to(device) for name, tensor in self.tokens.items()}
        return Batch(self.noisy.to(device), self.noise.to(device), self.timesteps.to(device), tokens)


def batch(albums: dict[Kind, Album], captions: Captions, rng: random.Random) -> Batch:
    """Of one size. Timesteps lean to the noisy end, where the composition and the light are decided.

    Chance comes from `rng` and from torch's own generator.
    """
    kind = rng.choices(list(albums), [kind.share for kind in albums])[0]
    shown, count = albums[kind], kind.batch
    picked = [rng.randrange(len(shown.pairs)) for _ in range(count)]
    texts, edits = zip(*(_told(*shown.pairs[k], rng) for k in picked), strict=True)
    clean, other = shown.latents[picked].float().unbind(1)
    low = torch.where(torch.rand(count) < 0.4, 400, 0)
    timesteps = low + (torch.rand(count) * (1100 - low)).long()
    low = timesteps.clamp(min=EDITED_FROM)
    begun = low + (torch.rand(count) * (1100 - low)).long()
    left = torch.tensor(edits) * (KEPT[begun] / (1 - KEPT[begun])).sqrt()
    noise = torch.randn(clean.shape) + left[:, None, None, None] * (other - clean)
    share = KEPT[timesteps][:, None, None, None]
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    length = rng.choices(list(LENGTHS), list(LENGTHS.values()))[0]
    tokens = captions.tokens(list(texts), length)
    return Batch(noisy.to(memory_format=torch.channels_last), noise, timesteps, tokens)


def _told(scene: Scene, other: Scene, rng: random.Random) -> tuple[str, bool]:
    """The caption of `scene`, and whether it asks for an edit of `other`."""
    if rng.random() < EMPTY:
        return "", False
    edit = rng.random() < EDITS
    return caption(scene, rng, differences(scene, other) if edit else frozenset()), edit


def loss_of(model: Any, batch: Batch) -> Tensor:
    """`batch` may lie on another device than the model."""
    batch = batch.to(model.unet.device)
    error: Tensor = model(batch.noisy, batch.timesteps, batch.tokens) - batch.noise
    share = KEPT.to(error.device)[batch.timesteps]
    ratio = share / (1 - share)
    weights = (ratio.clamp(max=5) / ratio).clamp(min=0.1)
    slow = torch.stack([side * functional.avg_pool2d(error, side).square().mean() for side in (4, 8)]).sum()
    return (weights * error.square().mean((1, 2, 3))).mean() + slow
