"""A Kolors to measure with, and what its work amounts to. `full` has the real one's sizes and random weights, made on
the device in the precision that is wanted: times do not depend on the values. `tiny` is the random checkpoint.
"""

import json
import math
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from worker.model import architecture, libraries
from worker.model.attention import PromptOnce
from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint
from worker.model.device import name_of, open_device
from worker.model.random_weights import random_checkpoint
from worker.model.tuning import Tuning


def open_model(name: str, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """`full` or `tiny`; without a safety checker."""
    with tempfile.TemporaryDirectory() as cache:
        directory = random_checkpoint(Path(cache))
        if name == "tiny":
            return open_checkpoint(
                Wanted(
                    source=str(directory),
                    cache=directory,
                    device=str(device),
                    dtype=name_of(dtype),
                    safety_checker="off",
                )
            )
        tokenizer = libraries.ChatGLMTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True)
        schedule = json.loads((directory / "scheduler" / "scheduler_config.json").read_text())
    half = torch.bfloat16 if dtype is torch.float16 else dtype
    return Checkpoint(
        name="full",
        device=open_device(device),
        dtype=dtype,
        tokenizer=tokenizer,
        text_encoder=_made(_text_encoder, device, dtype),
        unet=_made(_unet, device, dtype),
        vae=_made(_vae, device, half),
        schedule=schedule,
        safety=None,
    )


def _unet() -> Any:
    return architecture.unet(
        widths=(320, 640, 1280),
        heads=(5, 10, 20),
        transformers=(1, 2, 10),
        norm_groups=32,
        text_width=4096,
        cross_width=2048,
        number_width=256,
        latent_side=128,
    )


def _vae() -> Any:
    return architecture.autoencoder(widths=(128, 256, 512, 512), layers=2, norm_groups=32, side=1024)


def _text_encoder() -> Any:
    config = architecture.text_config(
        layers=28, vocabulary=65024, width=4096, feed_forward=13696, heads=32, head_width=128, length=32768
    )
    return libraries.ChatGLMEncoder(config)


@torch.no_grad()
def _made(make: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """Built without weights, given memory on the device, and filled there: small numbers, so that depth blows up
    nothing; norms as they begin."""
    model: nn.Module = _without_weights(make).to(dtype).to_empty(device=device).eval()
    dice = torch.Generator(device).manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            parameter.normal_(0, 0.7 / math.sqrt(parameter[0].numel()), generator=dice)
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq"):  # of the text encoder's rotary positions
            steps = torch.arange(0, 2 * len(buffer), 2, device=device, dtype=torch.float32)
            buffer.copy_(1.0 / 10000 ** (steps / (2 * len(buffer))))
    return model.requires_grad_(False)


def _without_weights(make: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return make()


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations, two for a multiplication with its addition; norms and the like are not counted.

    unet_row    the UNet for one row of a step
    heard_row   the same on a prompt's keys and values, `heard`
    """

    unet_row: float
    heard_row: float
    heard: float
    text: float
    encode: float
    decode: float

    def row(self, tuning: Tuning) -> float:
        return self.heard_row if tuning.prompt_once else self.unet_row

    def picture(self, steps: int, tuning: Tuning) -> float:
        """What is done for one, with guidance and a negative prompt that is known already."""
        prompt = self.text + (self.heard if tuning.prompt_once else 0)
        return 2 * steps * self.row(tuning) + prompt + self.encode + self.decode


def count_work(checkpoint: Checkpoint, side: int) -> Work:
    """Counted, not run, on models of the same configuration without weights."""
    unet_model: Any = checkpoint.unet
    vae_model: Any = checkpoint.vae
    text_model: Any = checkpoint.text_encoder
    unet = _without_weights(lambda: libraries.UNet2DConditionModel.from_config(unet_model.config))
    vae = _without_weights(lambda: libraries.AutoencoderKL.from_config(vae_model.config))
    text = _without_weights(lambda: libraries.ChatGLMEncoder(text_model.config))
    wide, told = unet_model.config.encoder_hid_dim, text_model.config.hidden_size
    pooled = {"text_embeds": _empty(1, told), "time_ids": _empty(1, 6)}
    latents = _empty(1, 4, side // 8, side // 8)
    with _counting() as row:
        unet(latents, _empty(1), encoder_hidden_states=_empty(1, 256, wide), added_cond_kwargs=pooled)
    once = PromptOnce(unet)
    with _counting() as heard:
        embeds = once(_empty(1, 256, wide))
    with _counting() as heard_row:
        unet(latents, _empty(1), encoder_hidden_states=embeds, added_cond_kwargs=pooled)
    with _counting() as encode:
        vae.encode(_empty(1, 3, side, side))
    with _counting() as decode:
        vae.decode(latents)
    with _counting() as said:
        ids = torch.zeros(1, 256, dtype=torch.long, device="meta")
        text(input_ids=ids, position_ids=ids, full_attention_mask=None, output_hidden_states=True, return_dict=True)
    return Work(*(float(it.get_total_flops()) for it in (row, heard_row, heard, said, encode, decode)))


@contextmanager
def _counting() -> Any:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        yield counter


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
