"""What is measured as a batch cap on a device whose times and memory are known, and how it is kept and read."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from shared.errors import OutOfMemory
from worker.engine import caps
from worker.engine.caps import Caps
from worker.engine.fake import FakeRunner, FakeState
from worker.engine.job import Job
from worker.engine.protocol import Decoded, Unusable

MADE_FOR = {"device": "a card", "torch": "2.13"}


class Card(FakeRunner):
    """A step takes `call_s` and `picture_s` for each megapixel; more than `memory_px` do not fit. Time is its own."""

    def __init__(self, *, call_s: float = 0.01, mpx_s: float = 0.02, memory_px: int = 2**40) -> None:
        super().__init__()
        self.now_s = 0.0
        self._call_s, self._mpx_s, self._memory_px = call_s, mpx_s, memory_px

    def clock(self) -> float:
        return self.now_s

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        px = sum(state.job.cost_px for state in states)
        if px > self._memory_px:
            raise OutOfMemory
        self.now_s += self._call_s + self._mpx_s * px / 2**20
        return super().predict(states, slots=slots)


def measured(card: Card, *sides: int) -> dict[int, int]:
    return {round(px**0.5): cap for px, cap in caps.measure(card, sides, clock=card.clock).items()}


def test_a_call_grows_for_as_long_as_each_picture_gets_cheaper() -> None:
    assert measured(Card(), 256, 512, 1024, 2048) == {256: 64, 512: 32, 1024: 8, 2048: 2}


def test_one_step_that_something_else_made_long_does_not_end_the_search() -> None:
    class Disturbed(Card):
        def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
            self.now_s += 0.03 if slots == 2 else 0
            return super().predict(states, slots=slots)

    assert measured(Disturbed(), 1024) == {1024: 8}


def test_the_first_step_of_so_many_counts_for_nothing() -> None:
    """Kernels are chosen in it, and graphs are built after it."""

    class Cold(Card):
        warm: ClassVar[set[int]] = set()

        def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
            self.now_s += 0 if slots in self.warm else 3.0
            self.warm.add(slots)
            return super().predict(states, slots=slots)

    assert measured(Cold(), 1024) == {1024: 8}


def test_a_picture_that_cannot_be_shown_is_measured_all_the_same() -> None:
    class Overflowing(Card):
        def decode(self, state: FakeState, *, job: Job) -> Decoded:
            raise Unusable("latents are not finite")

    assert measured(Overflowing(), 1024) == {1024: 8}


def test_where_only_the_pictures_cost_company_does_not_pay() -> None:
    assert measured(Card(call_s=0), 256, 1024) == {256: 1, 1024: 1}


def test_memory_ends_it_and_what_does_not_fit_at_all_is_left_out() -> None:
    card = Card(call_s=0.1, mpx_s=0.001, memory_px=3 * 512 * 512)
    assert measured(card, 256, 512, 1024) == {256: 8, 512: 2}
    with pytest.raises(OutOfMemory):
        measured(card, 1024)


def test_no_step_gets_so_long_that_newcomers_wait_for_seconds() -> None:
    assert measured(Card(call_s=1.5, mpx_s=0.2), 1024) == {1024: 2}


def test_sizes_between_take_the_cap_of_the_next_larger() -> None:
    known = Caps(MADE_FOR, {256**2: 32, 1024**2: 4})
    assert [known.of(px) for px in (64 * 64, 256**2, 256**2 + 64, 1024**2, 1024 * 1536, 2048**2)] == [
        32,
        32,
        4,
        4,
        2,
        1,
    ]


def test_it_is_kept_for_the_same_device_torch_and_model(tmp_path: Path) -> None:
    known = Caps(MADE_FOR, {256**2: 32})
    assert caps.load(tmp_path / "caps", MADE_FOR) is None
    file = caps.save(tmp_path / "caps", known)
    assert caps.load(tmp_path / "caps", MADE_FOR) == known
    assert caps.load(tmp_path / "caps", {**MADE_FOR, "torch": "2.14"}) is None
    caps.save(tmp_path / "caps", Caps(MADE_FOR, {256**2: 16}))
    assert caps.load(tmp_path / "caps", MADE_FOR) == Caps(MADE_FOR, {256**2: 16})
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"made_for": {}, "pictures": {"1": 1}}', "\x00", '{"pictures": 3}']
)
def test_a_file_that_is_of_no_use_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    caps.save(tmp_path, Caps(MADE_FOR, {256**2: 32})).write_text(content)
    assert caps.load(tmp_path, MADE_FOR) is None
