"""A small picture out of latents, without the decoder: one pixel per latent cell.

A linear map from the latent's four channels to colour is enough to see what becomes of a picture. It is fitted once
against the very autoencoder in use, on a mosaic of random colours, so no table of numbers has to match a checkpoint.
"""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from worker.model.libraries import Autoencoder

_CELLS = 8
"""Tiles of the mosaic a side, each 32×32 pixels: flat inside, so that a cell's latent is that of its colour."""


class Previewer:
    """For one thread; what `snapshot` returns may be called on another."""

    def __init__(self, autoencoder: Autoencoder, *, device: torch.device) -> None:
        self._autoencoder = autoencoder
        self._device = device
        self._colours: Tensor | None = None

    @torch.inference_mode()
    def snapshot(self, clean: Tensor) -> Callable[[], Image.Image]:
        """`clean`: (4, h, w), scaled as the UNet has it. The returned call waits for the device and gives h×w RGB."""
        if self._colours is None:
            self._colours = self._fit()
        cells = clean.to(torch.float32).permute(1, 2, 0)
        colours = torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1) @ self._colours
        levels = ((colours + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return lambda: Image.fromarray(levels.cpu().numpy())

    def _fit(self) -> Tensor:
        """(5, 3): colour in -1..1 from four channels and a constant, by least squares."""
        dice = torch.Generator().manual_seed(0)
        tiles = torch.rand((1, 3, _CELLS, _CELLS), generator=dice) * 2 - 1
        mosaic = tiles.repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
        pixels = mosaic.to(self._device, self._autoencoder.dtype)
        latents = self._autoencoder.encode(pixels).latent_dist.mean * self._autoencoder.config.scaling_factor
        middles = latents[0, :, 2::4, 2::4].flatten(1).T.to("cpu", torch.float32)
        known = torch.cat([middles, torch.ones(len(middles), 1)], dim=1)
        wanted = tiles[0].flatten(1).T
        colours: Tensor = torch.pinverse(known) @ wanted
        return colours.to(self._device)
