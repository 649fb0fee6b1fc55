"""The runner that paints with Kolors itself. With `batch` and `state` the only torch in the engine.

Alone, a request of no more pictures than the cap is bitwise that of diffusers' `KolorsImg2ImgPipeline` on a processor
in float32 without `FIXED_ROWS`, called with one generator per image (seed + k), `height` and `width` of the picture:
see docs/determinism.md.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared.errors import OutOfMemory
from worker.engine import batch
from worker.engine.batch import Prediction
from worker.engine.caps import Caps
from worker.engine.job import Job
from worker.engine.protocol import BatchKey, Decoded, Unusable
from worker.engine.state import DenoiseState
from worker.model.checkpoint import Checkpoint
from worker.model.denoiser import Denoiser
from worker.model.device import faults_of, name_of, use_of
from worker.model.graphs import Shape
from worker.model.libraries import Autoencoder, UNet
from worker.model.preview import Previewer
from worker.model.prompt import Prompt, PromptEncoder
from worker.model.solver import Solvers
from worker.model.together import Move, draw, step_alone, step_together
from worker.model.tuning import Tuning, set_flags, tuned_for

_MORE_PRECISE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_MOST_SLOTS = 64
_STEP_PX = 8 * 1024 * 1024
"""Of pictures in one step, where nothing was measured: more hardly helps, as 1024² nearly fills a GPU by itself."""
_DECODE_PX = 2 * 1024 * 1024
"""Of pictures decoded at once; the decoder wants several times the UNet's memory for a pixel."""


class TorchRunner:
    """See `worker.engine.protocol.Runner`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        step_px: int = _STEP_PX,
        fixed_rows: int | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        """`tuning`: what the device is good for, unless given."""
        self.checkpoint = checkpoint
        self.tuning = tuning or tuned_for(checkpoint.device.torch, fixed_rows=fixed_rows is not None)
        self.caps: Caps | None = None
        """What was measured for `made_for`; without it the caps are estimated from `step_px`."""
        self._fixed_rows = fixed_rows
        self._device = checkpoint.device
        self._step_px = step_px
        set_flags(self._device.torch, checkpoint.dtype)
        self._prompts = PromptEncoder(checkpoint.tokenizer, checkpoint.text_encoder, device=checkpoint.device)
        self._previewer = Previewer(checkpoint.vae, device=checkpoint.device.torch)
        self._solvers = Solvers(checkpoint.schedule)
        self._models = {name_of(checkpoint.dtype): self._tuned(checkpoint.unet, checkpoint.vae, self.tuning)}

    def key(self, width: int, height: int, *, precise: bool) -> BatchKey:
        dtype = self.checkpoint.dtype
        return BatchKey(height // 8, width // 8, name_of(_MORE_PRECISE.get(dtype, dtype) if precise else dtype))

    @property
    def made_for(self) -> Mapping[str, str]:
        """What measured caps depend on."""
        return {
            "device": self._device.name,
            "torch": torch.__version__,
            "model": self.checkpoint.name,
            "dtype": name_of(self.checkpoint.dtype),
            "rows": str(self._fixed_rows or "free"),
            "ways": self.tuning.ways,
        }

    def slots(self, key: BatchKey) -> int:
        if self.caps is not None:
            most = self.caps.of(key.picture_px)
            return most if key.dtype == name_of(self.checkpoint.dtype) else max(1, most // 2)
        return max(1, min(_MOST_SLOTS, self._step_px // key.picture_px))

    @torch.inference_mode()
    def prepare(self, job: Job, key: BatchKey) -> DenoiseState:
        with use_of(self._device), self._device.stream("prepare"):
            model = self._model(key.dtype)
            generators = [_generator(job.seed + k) for k in range(job.images)]
            solver = self._solvers.open(job.solver, steps=job.steps, strength=job.strength)
            clean = self._encode(job.image, model, generators)
            state = DenoiseState(
                key=key,
                latents=solver.begin(clean, self._device.send(draw(generators, clean))),
                solver=solver,
                generators=generators,
                guidance_scale=job.guidance_scale,
                positive=self._prompt(job.prompt, model),
                negative=self._prompt(job.negative_prompt, model) if job.guidance_scale > 1 else None,
            )
            state.ready = self._device.mark()
            return state

    @torch.inference_mode()
    def predict(self, states: Sequence[DenoiseState], *, slots: int) -> Sequence[Prediction]:
        with use_of(self._device):
            self._device.pace()
            for state in states:
                if state.ready is not None:
                    self._device.wait(state.ready, *state.tensors)
                    state.ready = None
            denoiser = self._model(states[0].key.dtype).denoiser
            return batch.predict(
                denoiser,
                self._device,
                states,
                slots,
                fixed_rows=self._fixed_rows,
                step_cache=denoiser.tuning.lossy_step_cache,
            )

    @torch.inference_mode()
    def advance(self, states: Sequence[DenoiseState], predictions: Sequence[Prediction]) -> None:
        """Alone by diffusers' own step, bitwise, where the tuning says so; else, and in company, all at once, which is
        exact but for rounding, and the same whatever the company."""
        moves = [
            Move(state.solver, state.step, said.noise, state.latents, state.generators)
            for state, said in zip(states, predictions, strict=True)
        ]
        with use_of(self._device):
            stock = len(moves) == 1 and self.tuning.stock_steps
            after = [step_alone(moves[0])] if stock else step_together(moves, self._device)
            moment = self._device.mark()
        for state, said, latents in zip(states, predictions, after, strict=True):
            state.before, state.said, state.latents, state.deep = state.latents, said.noise, latents, said.deep
            state.step += 1
            if state.step == state.steps:
                state.ended = moment

    @torch.inference_mode()
    def decode(self, state: DenoiseState, *, job: Job) -> Decoded:
        model = self._model(state.key.dtype)
        at_once = max(1, _DECODE_PX // state.key.picture_px)
        with use_of(self._device), self._device.stream("finish", state.latents, after=state.ended):
            if not bool(torch.isfinite(state.latents).all()):
                raise Unusable("latents are not finite")
            scaled = (state.latents / model.vae.config.scaling_factor).to(model.vae_dtype)
            pictures = self._paint(scaled, model, at_once)
            if any(not picture.getbbox() for picture in pictures) and job.image.getbbox():
                raise Unusable("a picture is all black")
            flagged = self._flags(pictures, job)
        black = Image.new("RGB", job.image.size)
        return Decoded(tuple(black if flag else it for it, flag in zip(pictures, flagged, strict=True)), flagged)

    def _paint(self, scaled: Tensor, model: "_Model", at_once: int) -> list[Image.Image]:
        """Where memory does not suffice for some at once, one by one."""
        try:
            with faults_of(self._device):
                return [
                    Image.fromarray(levels)
                    for few in torch.split(scaled, at_once)
                    for levels in _levels(model.vae.decode(few, return_dict=False)[0])
                ]
        except OutOfMemory:
            if min(at_once, len(scaled)) == 1:
                raise
            return self._paint(scaled, model, 1)

    @torch.inference_mode()
    def preview(self, state: DenoiseState) -> Callable[[], Image.Image] | None:
        if state.before is None or state.said is None:
            return None
        with use_of(self._device):
            clean = state.solver.clean(state.step - 1, state.said[0], state.before[0])
            levels = self._previewer.levels(clean)
            moment = self._device.mark()

        def show() -> Image.Image:
            with use_of(self._device), self._device.stream("copy", levels, after=moment):
                return Image.fromarray(levels.cpu().numpy())

        return show

    @torch.inference_mode()
    def warm_up(self, pictures: Mapping[BatchKey, int]) -> None:
        """Builds what makes steps fast for up to so many guided pictures of each size, in this order; returns at once.

        Until then, and for other shapes that come often, steps go the slow way.
        """
        denoiser = self._model(name_of(self.checkpoint.dtype)).denoiser
        with use_of(self._device), self._device.stream("prepare"):
            denoiser.hear(self._prompts.encode(""))  # from which it knows what prompts are like
        shapes = [
            Shape(rows, key.height, key.width)
            for key, most in pictures.items()
            for rows in ([self._fixed_rows] if self._fixed_rows else _for_up_to(most))
        ]
        denoiser.warm_up(shapes)

    def settle(self, timeout_s: float | None = None) -> None:
        for model in self._models.values():
            model.denoiser.settle(timeout_s)

    def forget(self) -> None:
        """Drops what was built for steps of all shapes so far."""
        with use_of(self._device):
            for model in self._models.values():
                model.denoiser.forget()
            self._device.free()

    def close(self) -> None:
        for model in self._models.values():
            model.denoiser.close()
        self._models.clear()
        self._device.free()

    def _encode(self, image: Image.Image, model: "_Model", generators: Sequence[torch.Generator]) -> Tensor:
        """Clean latents, one sample of the encoded picture per generator: encoded once, drawn from often."""
        levels = self._device.send(torch.as_tensor(np.array(image)[np.newaxis]))
        # The stock pipeline's memory layout, too: the convolutions choose their arithmetic by it.
        pixels = (levels.permute(0, 3, 1, 2).to(torch.float32) / 255.0) * 2.0 - 1.0
        encoded = model.vae.encode(pixels.to(model.vae_dtype)).latent_dist
        # In float32 or better from here on: a seed then means the same noise in every precision of the model.
        precision = torch.promote_types(model.denoiser.dtype, torch.float32)
        mean, std = encoded.mean.to(precision), encoded.std.to(precision)
        return model.vae.config.scaling_factor * (mean + std * self._device.send(draw(generators, mean)))

    def _prompt(self, text: str, model: "_Model") -> Prompt:
        return model.denoiser.hear(self._prompts.encode(text))

    def _flags(self, pictures: Sequence[Image.Image], job: Job) -> tuple[bool, ...]:
        if self.checkpoint.safety is None or not job.check_safety:
            return (False,) * len(pictures)
        return self.checkpoint.safety.flags(pictures)

    def _model(self, dtype: str) -> "_Model":
        """A copy in higher precision is made when it is first needed, and kept."""
        if dtype not in self._models:
            target = {name_of(known): known for known in _MORE_PRECISE.values()}[dtype]
            unet, vae = copy.deepcopy((self.checkpoint.unet, self.checkpoint.vae))
            seldom = replace(self.tuning.exact, compile="off", graphs=False)
            self._models[dtype] = self._tuned(unet.to(dtype=target), vae.to(dtype=target), seldom)
        return self._models[dtype]

    def _tuned(self, unet: UNet, vae: Autoencoder, tuning: Tuning) -> "_Model":
        if tuning.channels_last:
            vae.to(memory_format=torch.channels_last)
        return _Model(Denoiser(unet, self._device, tuning), vae, vae.dtype)


@dataclass(frozen=True, slots=True)
class _Model:
    """With the precision written down: diffusers looks through all of a model's weights when it is asked."""

    denoiser: Denoiser
    vae: Autoencoder
    vae_dtype: torch.dtype


def _for_up_to(pictures: int) -> list[int]:
    """Rows of guided pictures: first those of one, which is what most wait for, then from the most down, because
    smaller graphs find room in the memory of larger ones."""
    return [2, *range(2 * pictures, 2, -2)]


def _generator(seed: int) -> torch.Generator:
    """On the processor, so that a seed means the same noise on every device."""
    return torch.Generator().manual_seed(seed % 2**64)


def _levels(pixels: Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """(n, 3, h, w) in -1..1 to (n, h, w, 3) bytes, rounded half to even as the stock pipeline does."""
    if not bool(torch.isfinite(pixels).all()):
        raise Unusable("pixels are not finite")
    shares = (pixels.to(torch.float32) * 0.5 + 0.5).clamp(0, 1)
    levels = (shares * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return cast("np.ndarray[Any, np.dtype[np.uint8]]", levels.cpu().numpy())
