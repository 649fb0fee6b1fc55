"""Step 1: the autoencoder. It learns scenes, and heaps of random shapes so that a photograph survives it, too.

loss = mean |x - x'| + mean (x - x')² + mean |pool₈(x - x')| + 10⁻³ · mean z²      on 64×64 crops in -1 … 1

The latents z are the posterior's mean plus a noise of fixed size. A posterior that chooses its own noise drowned two
of the four channels in it, and with them the colours.
"""

import random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn import functional

from training.drawing import draw
from training.run import Plan
from training.scenes import compose
from worker.model.architecture import SCALING_FACTOR

CROP_PX = 64
PLAN = Plan(steps=1600, learning_rate=2e-3)
NOISE = 0.05
"""Standard deviation, in units of the latents while they are trained (theirs is about 1)."""


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture -> (3, height, width) in -1 … 1."""
    return torch.as_tensor(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def dead_leaves(rng: random.Random, size: int = CROP_PX) -> Image.Image:
    """Occluding shapes of all sizes and colours: the cheapest picture with the statistics of photographs
    (Lee, Mumford, Huang, "Occlusion Models for Natural Images", 2001)."""
    image = Image.new("RGB", (size, size), tuple(rng.randint(0, 255) for _ in range(3)))
    brush = ImageDraw.Draw(image)
    mood = [rng.randint(0, 255) for _ in range(3)]
    spread = rng.randint(20, 255)
    for _ in range(rng.randint(5, 60)):
        colour = tuple(min(255, max(0, m + rng.randint(-spread, spread))) for m in mood)
        reach = size * 0.5 / rng.uniform(1, 12) ** 1.2
        x, y = rng.uniform(0, size), rng.uniform(0, size)
        if rng.random() < 0.5:
            brush.ellipse((x - reach, y - reach, x + reach, y + reach * rng.uniform(0.3, 1.5)), fill=colour)
        else:
            corners = [(x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach)) for _ in range(4)]
            brush.polygon(corners, fill=colour)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5)))
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 16), (size, size, 1))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    return image


def batch(rng: random.Random) -> Tensor:
    """(16, 3, 64, 64): twelve crops of three scenes at several sizes and four heaps of shapes."""
    crops: list[Image.Image] = [dead_leaves(rng) for _ in range(4)]
    for _ in range(3):
        side = rng.choice((128, 192, 256, 256, 320, 512))
        picture = draw(compose(rng), side, side)
        for _ in range(4):
            x, y = rng.randint(0, side - CROP_PX), rng.randint(0, side - CROP_PX)
            crops.append(picture.crop((x, y, x + CROP_PX, y + CROP_PX)))
    return torch.stack([to_tensor(crop) for crop in crops]).to(memory_format=torch.channels_last)


def loss_of(model: Any, pictures: Tensor) -> Tensor:
    """`pictures` may lie on another device than the model."""
    pictures = pictures.to(model.device)
    latents = model.encode(pictures).latent_dist.mean
    gap = model.decode(latents + NOISE * torch.randn_like(latents)).sample - pictures
    fit = gap.abs().mean() + gap.square().mean() + functional.avg_pool2d(gap, 8).abs().mean()
    return fit + 1e-3 * latents.square().mean()


@torch.no_grad()
def normalise(model: Any, pictures: Tensor) -> None:
    """Makes each latent channel times `SCALING_FACTOR` zero in the mean and one in variance over `pictures`,
    without changing what the autoencoder does: the change goes into `quant_conv` and back out of
    `post_quant_conv`, both 1×1. The posterior's spread becomes the noise that it was trained with."""
    latents = model.encode(pictures).latent_dist.mean
    centre, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    gain = 1 / (spread * SCALING_FACTOR)
    into, out = model.quant_conv, model.post_quant_conv
    if into is None or out is None or into.bias is None or out.bias is None:
        raise TypeError("this autoencoder has no 1×1 convolutions around its latents")
    into.weight[:4] *= gain[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - centre) * gain
    into.weight[4:] = 0
    into.bias[4:] = 2 * (NOISE * gain).log()
    out.bias += out.weight[:, :, 0, 0] @ centre
    out.weight /= gain[None, :, None, None]
