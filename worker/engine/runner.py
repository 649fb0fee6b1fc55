"""The runner that paints with Kolors itself. With `batch` and `state` the only torch in the engine.

Alone, a request's pictures are bitwise those of diffusers' `KolorsImg2ImgPipeline` on the same device in float32,
called with one generator per image (seed + k), `height` and `width` of the picture: see docs/determinism.md.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from worker.engine import batch
from worker.engine.job import Job
from worker.engine.protocol import BatchKey, Decoded, Unusable
from worker.engine.state import DenoiseState
from worker.model.checkpoint import Checkpoint
from worker.model.device import memory_of
from worker.model.libraries import Autoencoder, UNet
from worker.model.preview import Previewer
from worker.model.prompt import Prompt, PromptEncoder
from worker.model.solver import Solver

_MORE_PRECISE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_MOST_SLOTS = 64
_STEP_PX = 8 * 1024 * 1024
"""Of pictures in one step, where nothing was measured: more hardly helps, as 1024² nearly fills a GPU by itself."""
_DECODE_PX = 2 * 1024 * 1024
"""Of pictures decoded at once; the decoder wants several times the UNet's memory for a pixel."""


class TorchRunner:
    """See `worker.engine.protocol.Runner`."""

    def __init__(self, checkpoint: Checkpoint, *, step_px: int = _STEP_PX) -> None:
        self._checkpoint = checkpoint
        self._device = checkpoint.device
        self._step_px = step_px
        self._prompts = PromptEncoder(checkpoint.tokenizer, checkpoint.text_encoder, device=checkpoint.device.torch)
        self._previewer = Previewer(checkpoint.vae, device=checkpoint.device.torch)
        self._models: dict[str, tuple[UNet, Autoencoder]] = {_name(checkpoint.dtype): (checkpoint.unet, checkpoint.vae)}

    def key(self, width: int, height: int, *, precise: bool) -> BatchKey:
        dtype = self._checkpoint.dtype
        return BatchKey(height // 8, width // 8, _name(_MORE_PRECISE.get(dtype, dtype) if precise else dtype))

    def slots(self, key: BatchKey) -> int:
        return max(1, min(_MOST_SLOTS, self._step_px // key.picture_px))

    @torch.inference_mode()
    def prepare(self, job: Job, key: BatchKey) -> DenoiseState:
        with memory_of(self._device):
            unet, vae = self._model(key.dtype)
            generators = [_generator(job.seed + k) for k in range(job.images)]
            solver = Solver(job.solver, self._checkpoint.schedule, steps=job.steps, strength=job.strength)
            clean = self._encode(job.image, vae, unet.dtype, generators)
            size = [job.image.height, job.image.width]
            return DenoiseState(
                key=key,
                latents=solver.begin(clean, _noise(clean, generators)),
                solver=solver,
                generators=generators,
                guidance_scale=job.guidance_scale,
                positive=self._prompt(job.prompt, unet),
                negative=self._prompt(job.negative_prompt, unet) if job.guidance_scale > 1 else None,
                time_ids=torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=clean.device),
            )

    @torch.inference_mode()
    def predict(self, states: Sequence[DenoiseState], *, slots: int) -> Sequence[Tensor]:
        with memory_of(self._device):
            self._device.pace()
            return batch.predict(self._model(states[0].key.dtype)[0], states, slots)

    @torch.inference_mode()
    def advance(self, states: Sequence[DenoiseState], predictions: Sequence[Tensor]) -> Sequence[Exception | None]:
        return [self._advance(state, said) for state, said in zip(states, predictions, strict=True)]

    @torch.inference_mode()
    def decode(self, state: DenoiseState, *, job: Job) -> Decoded:
        vae = self._model(state.key.dtype)[1]
        at_once = max(1, _DECODE_PX // state.key.picture_px)
        with memory_of(self._device), self._device.beside(state.ended, state.latents):
            if not bool(torch.isfinite(state.latents).all()):
                raise Unusable("latents are not finite")
            scaled = state.latents.to(vae.dtype) / vae.config.scaling_factor
            pictures = [
                Image.fromarray(levels)
                for few in torch.split(scaled, at_once)
                for levels in _levels(vae.decode(few, return_dict=False)[0])
            ]
            if any(not picture.getbbox() for picture in pictures) and job.image.getbbox():
                raise Unusable("a picture is all black")
            flagged = self._flags(pictures, job)
        black = Image.new("RGB", job.image.size)
        return Decoded(tuple(black if flag else it for it, flag in zip(pictures, flagged, strict=True)), flagged)

    @torch.inference_mode()
    def preview(self, state: DenoiseState) -> Callable[[], Image.Image] | None:
        if state.before is None or state.said is None:
            return None
        clean = state.solver.clean(state.step - 1, state.said[0], state.before[0])
        return self._previewer.snapshot(clean)

    def close(self) -> None:
        self._models.clear()
        self._device.free()

    def _advance(self, state: DenoiseState, said: Tensor) -> Exception | None:
        try:
            after = state.solver.step(state.step, said, state.latents, state.generators)
        except Exception as error:  # noqa: BLE001 - this request's own fault
            return error
        state.before, state.said, state.latents = state.latents, said, after
        state.step += 1
        if state.step == state.steps:
            state.ended = self._device.mark()
        return None

    def _encode(
        self, image: Image.Image, vae: Autoencoder, dtype: torch.dtype, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Clean latents, one sample of the encoded picture per generator: encoded once, drawn from often."""
        levels = torch.as_tensor(np.array(image)[np.newaxis]).to(self._device.torch)
        # The stock pipeline's memory layout, too: the convolutions choose their arithmetic by it.
        pixels = (levels.permute(0, 3, 1, 2).to(torch.float32) / 255.0) * 2.0 - 1.0
        encoded = vae.encode(pixels.to(vae.dtype)).latent_dist
        samples = torch.cat([encoded.sample(generator) for generator in generators])
        return vae.config.scaling_factor * samples.to(dtype)

    def _prompt(self, text: str, unet: UNet) -> Prompt:
        prompt = self._prompts.encode(text)
        return Prompt(prompt.embeds.to(unet.dtype), prompt.pooled.to(unet.dtype))

    def _flags(self, pictures: Sequence[Image.Image], job: Job) -> tuple[bool, ...]:
        if self._checkpoint.safety is None or not job.check_safety:
            return (False,) * len(pictures)
        return self._checkpoint.safety.flags(pictures)

    def _model(self, dtype: str) -> tuple[UNet, Autoencoder]:
        """A copy in higher precision is made when it is first needed, and kept."""
        if dtype not in self._models:
            target = {_name(known): known for known in _MORE_PRECISE.values()}[dtype]
            unet, vae = copy.deepcopy((self._checkpoint.unet, self._checkpoint.vae))
            self._models[dtype] = (unet.to(dtype=target), vae.to(dtype=target))
        return self._models[dtype]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _generator(seed: int) -> torch.Generator:
    """On the processor, so that a seed means the same noise on every device."""
    return torch.Generator().manual_seed(seed % 2**64)


def _noise(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One generator per row."""
    shape = (1, *like.shape[1:])
    drawn = [torch.randn(shape, generator=generator, dtype=like.dtype) for generator in generators]
    return torch.cat(drawn).to(like.device)


def _levels(pixels: Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """(n, 3, h, w) in -1..1 to (n, h, w, 3) bytes, rounded half to even as the stock pipeline does."""
    if not bool(torch.isfinite(pixels).all()):
        raise Unusable("pixels are not finite")
    shares = (pixels.to(torch.float32) * 0.5 + 0.5).clamp(0, 1)
    levels = (shares * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return cast("np.ndarray[Any, np.dtype[np.uint8]]", levels.cpu().numpy())
