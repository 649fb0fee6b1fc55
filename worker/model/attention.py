"""The UNet's attentions with less to do in each step; the arithmetic of each number stays what it was.

In diffusers a self-attention makes query, key and value by three products, and each of the seventy cross-attentions
makes keys and values of the prompt anew in every step, although the prompt never changes. Weights are not copied:
what is put together here, the modules go on using in pieces.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.libraries import Attention, FusedAttnProcessor2_0


def fuse_qkv(unet: nn.Module) -> None:
    """One product for query, key and value of every self-attention."""
    for block in _blocks(unet):
        attention = block.attn1
        attention.fuse_projections()
        attention.set_processor(FusedAttnProcessor2_0())
        _share(attention.to_qkv.weight, [attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])


class PromptOnce:
    """Makes the UNet take, instead of a prompt's embeds, the keys and values that all its cross-attentions would make
    of them, side by side: (rows, tokens, `width`). Calling this makes those of one prompt.

    At 1024² that saves a fortieth of a step's arithmetic and 140 small calls. Raises `ValueError` for a UNet that
    cannot be treated so.
    """

    def __init__(self, unet: nn.Module) -> None:
        model: Any = unet
        self._project: Any = model.encoder_hid_proj
        attentions = [block.attn2 for block in _blocks(unet)]
        layers = [layer for attention in attentions for layer in (attention.to_k, attention.to_v)]
        if not layers or self._project is None or any(layer.bias is not None for layer in layers):
            raise ValueError("its cross-attentions are not Kolors'")
        self._weight = torch.cat([layer.weight.data for layer in layers])
        _share(self._weight, [layer.weight for layer in layers])
        model.encoder_hid_proj = nn.Identity()
        first = 0
        for block in _blocks(unet):
            last = first + 2 * block.attn2.to_k.out_features
            block.attn2.set_processor(_Prepared())
            # Not inside the attention: where blocks are compiled, one compiled block then serves wherever it looks.
            block.register_forward_pre_hook(partial(_look_at, first, last), with_kwargs=True)
            first = last

    @property
    def width(self) -> int:
        return len(self._weight)

    def __call__(self, embeds: Tensor) -> Tensor:
        """(1, tokens, embeds' width) to (1, tokens, `width`)."""
        return functional.linear(self._project(embeds), self._weight)


class _Prepared:
    """Attends to keys and values that are given; as diffusers' `AttnProcessor2_0` but for making them."""

    def __call__(self, attention: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object) -> Tensor:
        query = _heads(attention, attention.to_q(hidden_states))
        key, value = (_heads(attention, half) for half in encoder_hidden_states.chunk(2, dim=-1))
        said = functional.scaled_dot_product_attention(query, key, value)
        return attention.to_out[0](said.transpose(1, 2).flatten(2))


def _heads(attention: Any, rows: Any) -> Tensor:
    """(rows, tokens, heads * size) to (rows, heads, tokens, size)."""
    return rows.unflatten(-1, (attention.heads, -1)).transpose(1, 2)


def _look_at(first: int, last: int, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "encoder_hidden_states": kwargs["encoder_hidden_states"][..., first:last]}


def _blocks(unet: nn.Module) -> Iterator[Any]:
    """Transformer blocks: a self-attention `attn1` and a cross-attention `attn2` each."""
    for module in unet.modules():
        if isinstance(getattr(module, "attn2", None), Attention):
            yield module


def _share(whole: Any, pieces: list[Any]) -> None:
    """The pieces become views of what was put together from them, one after the other."""
    parts = whole.data.split([len(piece) for piece in pieces])
    for piece, part in zip(pieces, parts, strict=True):
        piece.data = part
