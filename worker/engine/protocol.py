"""What the engine and the scheduler ask of a runner. No torch here: `fake.FakeRunner` and `runner.TorchRunner` keep it.

A runner owns the model. It keeps nothing about a request between two calls: that lives in the state that `prepare`
returns, so that dropping a request is dropping its state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from PIL import Image

from shared.errors import Fault, Unavailable
from worker.engine.job import Job


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What must be equal for two requests to share one UNet call; everything else is each request's own business.

    Prompt, strength, steps, solver, guidance, seed and number of pictures are therefore not here.
    `height` and `width` count latent cells (pixels / 8); `dtype` is the precision of the call.
    """

    height: int
    width: int
    dtype: str

    @property
    def picture_px(self) -> int:
        return self.height * self.width * 64


@dataclass(frozen=True, slots=True)
class Decoded:
    """RGB pictures of one request, in the order of their seeds; a flagged one is solid black."""

    pictures: tuple[Image.Image, ...]
    flagged: tuple[bool, ...]


class Unusable(Exception):
    """The numbers that came out are no picture: not finite, or all black where the input was not."""


class Stopped(Unavailable):
    """The engine stopped before this request was done, and it was not why"""


class Suspected(Exception):
    """Something broke that this request was in, alone or with others, and it may have been why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class State(Protocol):
    """One request between its first and its last step. `pictures` rows of it are stepped together."""

    @property
    def step(self) -> int:
        """Steps done."""
        ...

    @property
    def steps(self) -> int:
        """Steps to do in all, at least one."""
        ...


S = TypeVar("S", bound=State)
P = TypeVar("P")


class Runner(Protocol[S, P]):
    """`prepare`, `predict`, `advance` and `preview` are called on one thread, `decode` on another one beside them, and
    what says so on any.

    Any method may raise; `shared.errors.OutOfMemory` says that the device is full, and that what was given is unharmed,
    but by `advance`.
    """

    def key(self, width: int, height: int, *, precise: bool) -> BatchKey:
        """Of pictures of this size in pixels. `precise`: for a second try in the next higher precision; equal to the
        first key where there is none. Called from any thread."""
        ...

    def slots(self, key: BatchKey) -> int:
        """How many pictures of this size may share one step, at least 1: measured, or estimated from memory. Called
        from any thread."""
        ...

    def prepare(self, job: Job, key: BatchKey) -> S:
        """Prompt and picture encoded, noise added, nothing stepped yet."""
        ...

    def predict(self, states: Sequence[S], *, slots: int) -> Sequence[P]:
        """The guided noise prediction of each. At most `slots` pictures share one call of the model; a larger batch
        is cut. Changes no state, so it can be tried again."""
        ...

    def advance(self, states: Sequence[S], predictions: Sequence[P]) -> None:
        """Every state one step further. Where that raises, none of them is of use any more."""
        ...

    def decode(self, state: S, *, job: Job) -> Decoded:
        """The finished pictures, safety-checked when the job asks for it. Raises `Unusable`."""
        ...

    def preview(self, state: S) -> Callable[[], Image.Image] | None:
        """A small picture of where it is going. The call takes a snapshot; what it returns does the work, anywhere."""
        ...

    def settle(self) -> None:
        """Waits until steps of every shape so far are as fast as they will get."""
        ...

    def close(self) -> None: ...
