"""The two ways to be faster that change the picture: products of 8 bits, and steps that run only the UNet's outermost
level.

Never used unless a setting whose name begins with LOSSY asks for it. Both treat each picture by itself: what they make
of it does not depend on its company.
"""

from threading import get_ident
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from worker.model.libraries import Attention

_EIGHT_BITS: Final = torch.float8_e4m3fn
_LARGEST: Final = torch.finfo(_EIGHT_BITS).max
_MULTIPLE: Final = 16
"""Of a weight's rows and columns, as the hardware's products of 8 bits want it."""


class Float8Linear(nn.Module):
    """A linear layer whose weight, and in each call its input, are rounded to 8 bits (e4m3).

    Each row of either is scaled by its own largest number beforehand. Summed in float32 and rounded to bfloat16, which
    is the one kind of result that every kernel for such scales has.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _rounded(linear.weight.data)
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.T.contiguous())
        self.bias: nn.Parameter | None = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out), in the precision of `x`."""
        rows, scale = _rounded(x.flatten(0, -2).contiguous())  # a GPU refuses columns that lie together
        product = _product(rows, scale, self.weight, self.scale)
        said: Tensor = product.to(x.dtype).view(*x.shape[:-1], -1)
        return said if self.bias is None else said + self.bias


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(n, width) in 8 bits, and (n, 1) what to multiply them with, in float32."""
    scale = rows.abs().amax(1, keepdim=True).to(torch.float32).clamp(min=1e-12) / _LARGEST
    return (rows / scale).to(_EIGHT_BITS), scale


def _product(rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    # `torch.nn.functional.scaled_mm` is its public name, in newer versions only.
    multiply = cast("Any", torch)._scaled_mm  # noqa: SLF001
    return multiply(
        rows, weight.T, scale_a=row_scale, scale_b=weight_scale, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def round_linears(unet: nn.Module) -> None:
    """Makes the linear layers of the UNet's transformers, as far as a step calls them, ones of 8 bits."""
    uncalled = {id(layer) for attention in unet.modules() for layer in _uncalled(attention)}
    for transformer in unet.modules():
        if type(transformer).__name__ != "Transformer2DModel":
            continue
        for parent in list(transformer.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear) and id(layer) not in uncalled and _fits(layer):
                    setattr(parent, name, Float8Linear(layer))


def _uncalled(module: Any) -> list[nn.Module]:
    """An attention's products that others stand in for, and those of the prompt, which is no large input."""
    if not isinstance(module, Attention):
        return []
    if module.is_cross_attention:
        return [module.to_k, module.to_v]
    return [module.to_q, module.to_k, module.to_v] if module.fused_projections else []


def _fits(layer: nn.Linear) -> bool:
    return layer.in_features % _MULTIPLE == layer.out_features % _MULTIPLE == 0


def has_eight_bits(device: torch.device) -> bool:
    """Whether it has such products."""
    rows, scale = _rounded(torch.ones((_MULTIPLE, _MULTIPLE), device=device))
    try:
        _product(rows, scale, rows, scale.T)
    except (RuntimeError, ValueError):
        return False
    return True


class _Outermost(nn.Module):
    """The last block of the UNet's way up: notes what it is given, or takes what was noted before in its place."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.resnets = block.resnets  # diffusers counts them
        self.noted: dict[int, Tensor] = {}
        """By the thread that called: one paints while another builds."""
        self.given: Tensor | None = None

    def forward(self, hidden_states: Tensor, **others: Any) -> Tensor:
        self.noted[get_ident()] = hidden_states
        return self.block(hidden_states if self.given is None else self.given, **others)


def note_deep(unet: Any) -> None:
    """Makes it note in each call what those of its levels say that lie beneath the outermost.

    Most of the work is done there, and what comes of it changes little from one step to the next (Ma, Fang, Wang,
    "DeepCache: Accelerating Diffusion Models for Free", 2023).
    """
    unet.up_blocks[-1] = _Outermost(unet.up_blocks[-1])


def deep_of(unet: Any) -> Tensor:
    """What was noted in this thread's last call, (rows, channels, h, w); forgotten here."""
    return unet.up_blocks[-1].noted.pop(get_ident())


def keep_outermost(unet: Any) -> None:
    """Takes out all of it that lies beneath; `give_deep` stands in. For one thread."""
    first = unet.down_blocks[0]
    first.downsamplers = None
    unet.down_blocks, unet.mid_block = nn.ModuleList([first]), None
    unet.up_blocks = nn.ModuleList([unet.up_blocks[-1]])
    unet.encoder_hid_proj = nn.Identity()  # it has no attention left that would listen


def give_deep(unet: Any, deep: Tensor) -> None:
    unet.up_blocks[-1].given = deep
