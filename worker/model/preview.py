"""A small picture out of latents, without the decoder: one pixel per latent cell.

A linear map from the latent's four channels to colour is enough to see what becomes of a picture. It is fitted once
against the very autoencoder in use, on a mosaic of random colours, so no table of numbers has to match a checkpoint.
"""

import torch
from torch import Tensor

from worker.model.libraries import Autoencoder

_TILES = 8
"""Of the mosaic a side, each 32×32 pixels or 4×4 cells: wide enough for their middles to know nothing of the rest."""


class Previewer:
    """For one thread."""

    def __init__(self, autoencoder: Autoencoder, *, device: torch.device) -> None:
        self._autoencoder = autoencoder
        self._device = device
        self._colours: Tensor | None = None

    @torch.inference_mode()
    def levels(self, clean: Tensor) -> Tensor:
        """`clean`: (4, h, w), scaled as the UNet has it; (h, w, 3) bytes, RGB, on the device."""
        if self._colours is None:
            self._colours = self._fit()
        cells = clean.to(torch.float32).permute(1, 2, 0)
        colours = torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1) @ self._colours
        return ((colours + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def _fit(self) -> Tensor:
        """(5, 3): colour in -1..1 from four channels and a constant, by least squares over what the decoder says.

        The latents are those of tiles of random colours, shaken so that each channel's own part is seen.
        """
        dice, scaling = torch.Generator().manual_seed(0), self._autoencoder.config.scaling_factor
        tiles = torch.rand((1, 3, _TILES, _TILES), generator=dice) * 2 - 1
        mosaic = self._autoencoder.encode(self._ready(tiles, 32)).latent_dist.mean[..., 2::4, 2::4] * scaling
        shaken = mosaic.to("cpu", torch.float32) + torch.randn((1, 4, _TILES, _TILES), generator=dice) / 4
        decoded = self._autoencoder.decode(self._ready(shaken / scaling, 4), return_dict=False)[0]
        known = torch.cat([_rows(shaken), torch.ones(_TILES**2, 1)], dim=1)
        colours: Tensor = torch.pinverse(known) @ _rows(decoded[..., 16::32, 16::32].to("cpu", torch.float32))
        return colours.to(self._device)

    def _ready(self, tiles: Tensor, side: int) -> Tensor:
        """Each cell of `tiles` as a square of this side, for the autoencoder."""
        squares = tiles.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        return squares.to(self._device, self._autoencoder.dtype)


def _rows(tiles: Tensor) -> Tensor:
    """(1, channels, h, w) as (h*w, channels)."""
    return tiles[0].flatten(1).T
