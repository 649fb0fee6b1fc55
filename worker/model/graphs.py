"""What a fast call of the UNet needs besides the UNet: inputs that stay where they are, and a thread that builds.

Building for a shape takes from a tenth of a second to minutes (what is compiled first), so it happens on a thread of
its own, for shapes that come often, while calls of that shape go the slow way.
"""

import logging
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from worker.model.prompt import Prompt

_log = logging.getLogger(__name__)

_MOST_GRAPHS: Final = 64
_OFTEN: Final = 8
"""Calls of a shape before it is built: about a fifth of a picture's steps."""
_CLOSING_S: Final = 5.0
_SWITCH_S: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a call: rows, and the latent's cells."""

    rows: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.width * 8}×{self.height * 8}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Of one call: (rows, 4, h, w), (rows,), (rows, tokens, width), (rows, width) and (rows, 6)."""

    latents: Tensor
    timesteps: Tensor
    embeds: Tensor
    pooled: Tensor
    sizes: Tensor


@dataclass(frozen=True, slots=True)
class Said:
    """By a call: the noise, (rows, 4, h, w); and what the UNet's levels beneath the outermost say, (rows, channels, h,
    w), where later calls may do without them."""

    noise: Tensor
    deep: Tensor | None


Call = Callable[[Tensor, Tensor, Sequence[Prompt]], Said]
"""Latents, timesteps and prompts, one a row."""


class Seats:
    """The prompts and timesteps that graphs read, `rows` of each; a graph of fewer rows reads the first ones.

    A prompt is put into its seat once, and stays for as long as the same one sits there. The latents are each graph's
    own, and go with it.
    """

    def __init__(self, rows: int, like: Prompt, sizes: Callable[[int, int], Tensor], *, channels_last: bool) -> None:
        self.rows = rows
        self._embeds = like.embeds.new_zeros((rows, *like.embeds.shape[1:]))
        self._pooled = like.pooled.new_zeros((rows, *like.pooled.shape[1:]))
        self._timesteps = torch.zeros(rows, device=like.embeds.device)
        self._seated: list[ReferenceType[Prompt] | None] = [None] * rows
        self._sizes = sizes
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def of(self, shape: Shape) -> Inputs:
        """What a graph of this shape reads."""
        rows = slice(shape.rows)
        latents = self._embeds.new_zeros((shape.rows, 4, shape.height, shape.width))
        return Inputs(
            latents.to(memory_format=self._layout),
            self._timesteps[rows],
            self._embeds[rows],
            self._pooled[rows],
            self._sizes(shape.height, shape.width).expand(shape.rows, -1).contiguous(),
        )

    def take(self, inputs: Inputs, latents: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> None:
        """Puts a call's into a graph's `inputs`. Seats behind them keep what they had."""
        inputs.latents[: len(latents)].copy_(latents)
        self._timesteps[: len(latents)].copy_(timesteps)
        for row, prompt in enumerate(prompts):
            before = self._seated[row]
            if before is None or before() is not prompt:
                self._embeds[row].copy_(prompt.embeds[0])
                self._pooled[row].copy_(prompt.pooled[0])
                self._seated[row] = ref(prompt)


@contextmanager
def _giving_way() -> Generator[None]:
    """Whoever else wants to run need not wait for long: compiling is minutes of Python, and each step of the engine's
    needs the interpreter's lock a thousand times."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


class Builder:
    """Calls `build` on a thread of its own for each shape that is wanted often enough, the most wanted one first.

    What it cannot build is not tried again. The least recently used make room.
    """

    def __init__(self, build: Callable[[Shape], Call | None]) -> None:
        self._build = build
        self._built: OrderedDict[Shape, Call | None] = OrderedDict()
        self._wanted: Counter[Shape] = Counter()
        self._change = threading.Condition()
        self._building: Shape | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def find(self, shape: Shape, *, wanted: int = 1) -> Call | None:
        """What was built for it. Where that has not happened yet, it is wanted so much more."""
        with self._change:
            if shape in self._built:
                self._built.move_to_end(shape)
                return self._built[shape]
            if wanted and shape != self._building:
                self._wanted[shape] += wanted
                self._start()
                self._change.notify_all()
        return None

    def want(self, shapes: Sequence[Shape]) -> None:
        """To be built as soon as can be, the first one first."""
        with self._change:  # or the builder would begin with what it hears of first
            for place, shape in enumerate(reversed(shapes)):
                self.find(shape, wanted=_OFTEN + place)

    def settle(self, timeout_s: float | None = None) -> None:
        """Waits until everything that was ever wanted is there, or the time is over."""
        with self._change:
            for shape in self._wanted:
                self._wanted[shape] += _OFTEN
            self._change.notify_all()
            self._change.wait_for(lambda: self._closed or not (self._wanted or self._building), timeout_s)

    def forget(self) -> None:
        """As if nothing had ever been wanted; what is being built is kept."""
        with self._change:
            self._built.clear()
            self._wanted.clear()

    def close(self) -> None:
        """What is being built may go on being built for a while, for nobody."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSING_S)
        self._built.clear()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="graphs", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (shape := self._next()) is not None:
            began_s = time.monotonic()
            try:
                with _giving_way():
                    call = self._build(shape)
            except Exception:  # noqa: BLE001 - out of memory, say; the slow way is always there
                _log.warning("nothing could be built for %s: it stays slow", shape, exc_info=True)
                call = None
            with self._change:
                if self._closed:
                    return
                self._built[shape] = call
                self._building = None
                while len(self._built) > _MOST_GRAPHS:
                    self._built.popitem(last=False)
                done, left = len(self._built), sum(count >= _OFTEN for count in self._wanted.values())
                self._change.notify_all()
            if call is not None:
                _log.info("ready for %s after %.1f s, %d of %d", shape, time.monotonic() - began_s, done, done + left)

    def _next(self) -> Shape | None:
        """Waits for it. None: closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or max(self._wanted.values(), default=0) >= _OFTEN)
            if self._closed:
                return None
            self._building = self._wanted.most_common(1)[0][0]
            del self._wanted[self._building]
            return self._building
