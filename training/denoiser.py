"""Step 2: text encoder and UNet learn together to see the noise in the latents of a captioned scene.

    loss = w(t) · mean (ε - ε')² + 8 · mean (pool₈(ε - ε'))²

w is min(SNR, 5) / SNR but at least 0.1 (Hang et al., "Efficient Diffusion Training via Min-SNR Weighting
Strategy", 2023). The second term weighs the error's slow part, which is what the colour of a sky hangs on.
One caption in eight is replaced by the empty prompt, so that guidance has something to push away from.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.pipelines.kolors import ChatGLMTokenizer
from torch import Tensor, nn
from torch.nn import functional

from training import architecture
from training.autoencoder import to_tensor
from training.drawing import draw
from training.run import Plan
from training.scenes import Scene, caption, compose
from training.tokenizer import PROMPT_TOKENS
from worker.model.random_weights import noise_schedule

PLAN = Plan(steps=5500, learning_rate=1e-3, warm_up=200)
SIZES: dict[tuple[int, int], tuple[int, int, float]] = {
    (256, 256): (1500, 12, 0.4),
    (128, 128): (4000, 40, 0.45),
    (192, 128): (500, 24, 0.075),
    (128, 192): (500, 24, 0.075),
}
"""(width, height) -> scenes drawn, batch, share of the steps."""
KEPT: Tensor = noise_schedule().alphas_cumprod
"""(timesteps,) How much of the picture's variance is left at each."""
EMPTY = 1 / 8
LENGTHS = {48: 0.75, PROMPT_TOKENS: 0.25}
"""Tokens a caption is padded to -> share of the steps. Kolors always pads to 256, at half again the cost of a step."""


@dataclass(frozen=True, slots=True)
class Album:
    """Scenes of one size and their latents, (n, 4, height / 8, width / 8), already scaled, in fp16."""

    scenes: list[Scene]
    latents: Tensor


@torch.no_grad()
def album(autoencoder: AutoencoderKL, width: int, height: int, count: int, folder: Path, seed: int) -> Album:
    """Draws and encodes the scenes of one size once; found again in `folder` later."""
    rng = random.Random(f"{seed} {width} {height}")
    scenes = [compose(rng) for _ in range(count)]
    kept = folder / f"latents-{width}x{height}.pt"
    if not kept.exists():
        parts: list[Tensor] = []
        for k in range(0, count, 20):
            pictures = torch.stack([to_tensor(draw(scene, width, height)) for scene in scenes[k : k + 20]])
            latents = autoencoder.encode(pictures.to(memory_format=torch.channels_last)).latent_dist.mean
            parts.append((latents * architecture.SCALING_FACTOR).half())
        torch.save(torch.cat(parts), kept)
    return Album(scenes, torch.load(kept, weights_only=True))


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
        sizes = torch.tensor([[height * 8, width * 8, 0, 0, height * 8, width * 8]], dtype=torch.float32)
        conditions = {"text_embeds": states[-1][-1], "time_ids": sizes.expand(count, -1)}
        embeds = states[-2].permute(1, 0, 2)
        return self.unet(noisy, timesteps, encoder_hidden_states=embeds, added_cond_kwargs=conditions).sample


class Captions:
    """Text -> tokens."""

    def __init__(self, tokenizer: ChatGLMTokenizer) -> None:
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


def batches(albums: dict[tuple[int, int], Album], captions: Captions, rng: random.Random) -> Iterator[Batch]:
    """Batches of one size each. Timesteps lean to the noisy end, where the composition and the light are decided."""
    generator = torch.Generator().manual_seed(rng.getrandbits(62))
    names = list(SIZES)
    while True:
        size = rng.choices(names, [SIZES[name][2] for name in names])[0]
        shown, count = albums[size], SIZES[size][1]
        picked = [rng.randrange(len(shown.scenes)) for _ in range(count)]
        texts = ["" if rng.random() < EMPTY else caption(shown.scenes[k], rng) for k in picked]
        clean = shown.latents[picked].float()
        low = torch.where(torch.rand(count, generator=generator) < 0.4, 400, 0)
        timesteps = low + (torch.rand(count, generator=generator) * (1100 - low)).long()
        noise = torch.randn(clean.shape, generator=generator)
        share = KEPT[timesteps][:, None, None, None]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        length = rng.choices(list(LENGTHS), list(LENGTHS.values()))[0]
        yield Batch(noisy.to(memory_format=torch.channels_last), noise, timesteps, captions.tokens(texts, length))


def loss_of(model: Denoiser, batch: Batch) -> Tensor:
    error = model(batch.noisy, batch.timesteps, batch.tokens) - batch.noise
    kept = KEPT[batch.timesteps]
    ratio = kept / (1 - kept)
    weights = (ratio.clamp(max=5) / ratio).clamp(min=0.1)
    slow = functional.avg_pool2d(error, 8).square().mean()
    return (weights * error.square().mean((1, 2, 3))).mean() + 8 * slow
