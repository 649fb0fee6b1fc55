"""The UNet as the engine calls it: as fast as the device allows, and always able to answer.

The fast way has to be built for each shape of call. Until that is done, and for what cannot be built, the same
arithmetic is done call by call.
"""

import copy
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor

from worker.model import inventory, lossy
from worker.model.attention import PromptOnce, fuse_qkv
from worker.model.device import Device, Tensors
from worker.model.graphs import Builder, Call, Inputs, Said, Seats, Shape
from worker.model.libraries import UNet
from worker.model.prompt import Prompt
from worker.model.tuning import Tuning, is_compilers, know_compiler, surviving_cudnn

_log = logging.getLogger(__name__)

_MOST_ROWS: Final = 128
_SEATS_SHARE: Final = 8
"""The inputs of graphs may take this part of the memory that is free when the first one is built."""
_REPEATED: Final = ("BasicTransformerBlock", "ResnetBlock2D")
_RUNS: Final = 3
"""Before a graph is recorded: they compile, and choose kernels."""


class Denoiser:
    """Called by one thread; `unet` stays usable by itself and shares its weights with what is made of it here."""

    def __init__(self, unet: UNet, device: Device, tuning: Tuning) -> None:
        self.dtype = unet.dtype
        self._device = device
        self.tuning = tuning
        self._plain = _twin(unet)
        self._plain.to(memory_format=torch.channels_last if tuning.channels_last else torch.contiguous_format)
        if tuning.fused_qkv:
            fuse_qkv(self._plain)
        self._once = PromptOnce(self._plain) if tuning.prompt_once else None
        if tuning.lossy_fp8:
            lossy.round_linears(self._plain)
        self._outermost: Any = None
        if tuning.lossy_step_cache > 1:
            lossy.note_deep(self._plain)
            self._outermost = _twin(self._plain)
            lossy.keep_outermost(self._outermost)
        self._heard: WeakKeyDictionary[Prompt, ReferenceType[Prompt]] = WeakKeyDictionary()
        self._compiled: Any = None
        self._compiles = tuning.compile != "off"
        self._ways: dict[Shape, str] = {}
        self._sizes: dict[tuple[int, int], Tensor] = {}
        self._like: Prompt | None = None
        self._seats: Seats | None = None
        self._recorder = device.recorder()
        self._builder = Builder(self._build) if tuning.builds else None
        device.finish()  # weights were moved, and every stream may read them from here on

    def hear(self, prompt: Prompt) -> Prompt:
        """As calls take it; the same again for as long as anybody has it, for it may be large."""
        known = self._heard.get(prompt)
        if known is not None and (heard := known()) is not None:
            return heard
        embeds, pooled = prompt.embeds.to(self.dtype), prompt.pooled.to(self.dtype)
        heard = Prompt(embeds if self._once is None else self._once(embeds), pooled)
        self._heard[prompt] = ref(heard)
        self._like = self._like or heard
        return heard

    def __call__(
        self, latents: Tensor, timesteps: Tensor, prompts: Sequence[Prompt], *, deep: Tensor | None = None
    ) -> Said:
        """The noise in latents (rows, 4, h, w), scaled for the UNet, at (rows,) timesteps; a heard prompt a row.

        With `deep` from a call before, only the UNet's outermost level is run.
        """
        if deep is not None:
            lossy.give_deep(self._outermost, deep)
            noise, *_ = self._forward(self._outermost, self._inputs(latents, timesteps, prompts))
            return Said(_plainly(noise), deep)
        if self._builder is not None:
            shape = _bucket(*latents.shape)
            if (call := self._builder.find(shape)) is not None:
                return call(latents, timesteps, prompts)
        return surviving_cudnn(lambda: self._by_itself(latents, timesteps, prompts))

    def warm_up(self, shapes: Sequence[Shape]) -> None:
        """These are built first, in this order, without being asked for; returns at once. After the first `hear`."""
        if self._builder is not None:
            found = [_bucket(it.rows, 4, it.height, it.width) for it in shapes]
            self._builder.want(list(dict.fromkeys(found)))

    def settle(self, timeout_s: float | None = None) -> None:
        """Waits until everything that was ever called is built, or the time is over."""
        if self._builder is not None:
            self._builder.settle(timeout_s)

    def forget(self) -> None:
        """Drops all that was built, and its memory."""
        if self._builder is not None:
            self._builder.forget()

    def way(self, shape: Shape) -> str:
        """How calls of that shape are answered: `compiled`, `graph`, both, or neither of them."""
        if self._builder is None or self._builder.find(shape, wanted=0) is None:
            return "by itself"
        return self._ways[shape]

    def close(self) -> None:
        if self._builder is not None:
            self._builder.close()
        self._builder = self._seats = self._compiled = None  # it would keep us, and what it built, until a collection

    def _by_itself(self, latents: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Said:
        noise, *deep = self._forward(self._plain, self._inputs(latents, timesteps, prompts))
        return Said(_plainly(noise) if self.tuning.channels_last else noise, *(deep or [None]))

    def _inputs(self, latents: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Inputs:
        layout = torch.channels_last if self.tuning.channels_last else torch.preserve_format
        return Inputs(
            latents.to(self.dtype, memory_format=layout),
            timesteps,
            torch.cat([prompt.embeds for prompt in prompts]),
            torch.cat([prompt.pooled for prompt in prompts]),
            self._size(*latents.shape[-2:]).expand(len(latents), -1),
        )

    def _size(self, height: int, width: int) -> Tensor:
        """(1, 6): what the UNet is told about the picture: its size, nothing cut off, and its size again."""
        if (height, width) not in self._sizes:
            size = [height * 8, width * 8]
            made = self._device.send(torch.tensor([[*size, 0, 0, *size]], dtype=self.dtype))
            self._device.finish()  # the first time only: it is for both threads
            self._sizes[height, width] = made
        return self._sizes[height, width]

    # ---- on the builder's thread

    @torch.inference_mode()
    def _build(self, shape: Shape) -> Call | None:
        with self._device.stream("build"):
            seats = self._seated()
            if seats is None or shape.rows > seats.rows:
                _log.warning("no seats for %s: its steps stay slow", shape)
                return None
            if self._compiles:
                try:
                    self._compiled = self._compiled or _compiled(self._plain, self.tuning)
                    return self._record(self._compiled, shape, seats)
                except torch.OutOfMemoryError:
                    _log.warning("no memory to build for %s", shape)
                    return None
                except Exception as error:  # noqa: BLE001 - whatever a compiler may raise; there is another way
                    self._compiles = not is_compilers(error)
                    later = "" if self._compiles else ": from now on without compiling"
                    _log.warning("cannot compile for %s%s", shape, later, exc_info=True)
            if not self.tuning.graphs:
                return None
            try:
                return self._record(self._plain, shape, seats)
            except Exception:  # noqa: BLE001
                _log.warning("cannot record a graph for %s: its steps stay slow", shape, exc_info=True)
                return None

    def _seated(self) -> Seats | None:
        if self._seats is None and self._like is not None:
            row_bytes = self._like.size_bytes
            fit = inventory.free_bytes(self._device.torch) // _SEATS_SHARE // row_bytes
            rows = min(_MOST_ROWS, fit)
            self._seats = Seats(rows, self._like, self._size, channels_last=self.tuning.channels_last)
        return self._seats

    def _record(self, unet: Any, shape: Shape, seats: Seats) -> Call:
        inputs = seats.of(shape)
        if self.tuning.compile == "whole":
            _open_rows(inputs)
        forward = partial(self._forward, unet, inputs)
        for _ in range(_RUNS):
            surviving_cudnn(forward)
        again = self._recorder(forward) if self.tuning.graphs else forward
        self._device.finish()
        self._ways[shape] = ", ".join(["compiled"] * (unet is self._compiled) + ["graph"] * self.tuning.graphs)

        def call(latents: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Said:
            seats.take(inputs, latents, timesteps, prompts)
            if again is forward:
                know_compiler()
            noise, *deep = (each[: len(latents)] for each in again())
            return Said(_plainly(noise), *(deep or [None]))

        return call

    # ---- on either

    def _forward(self, unet: Any, inputs: Inputs) -> Tensors:
        """The noise; and what lies beneath the outermost level, where that can be run alone."""
        noise: Tensor = unet(
            inputs.latents,
            inputs.timesteps,
            encoder_hidden_states=inputs.embeds,
            added_cond_kwargs={"text_embeds": inputs.pooled, "time_ids": inputs.sizes},
            return_dict=False,
        )[0]
        return (noise,) if self._outermost is None else (noise, lossy.deep_of(unet))


def _plainly(noise: Tensor) -> Tensor:
    """A copy in the usual layout."""
    return noise.clone(memory_format=torch.contiguous_format)


def _twin(unet: Any) -> Any:
    """Modules of its own on the same weights."""
    shared = {id(tensor): tensor for tensor in (*unet.parameters(), *unet.buffers())}
    return copy.deepcopy(unet, shared)


def _compiled(unet: Any, tuning: Tuning) -> Any:
    """A twin that is compiled when it is called: `blocks` with every size open, `whole` with the number of rows."""
    know_compiler()
    compile_ = cast("Any", torch.compile)  # pyright: ignore[reportUnknownMemberType]
    twin = _twin(unet)
    whole = tuning.compile == "whole"
    for module in (twin,) if whole else twin.modules():
        if whole or type(module).__name__ in _REPEATED:
            dynamic = None if whole else True
            module.forward = compile_(
                module.forward, dynamic=dynamic, mode=tuning.compile_mode, backend=tuning.compile_backend
            )
    return twin


def _open_rows(inputs: Inputs) -> None:
    """Tells the compiler that another number of rows will come."""
    from torch._dynamo import maybe_mark_dynamic

    for tensor in (inputs.latents, inputs.timesteps, inputs.embeds, inputs.pooled, inputs.sizes):
        maybe_mark_dynamic(tensor, 0)


def _bucket(rows: int, _: int, height: int, width: int) -> Shape:
    """The next number of rows that graphs are built for: each up to sixteen, then in steps of up to an eighth."""
    step = 2 ** max(0, (rows - 1).bit_length() - 4)
    return Shape(-(-rows // step) * step, height, width)
