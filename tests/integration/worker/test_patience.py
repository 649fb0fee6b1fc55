"""What cannot be stopped keeps nobody waiting: decoders, the engine's last stage, a slow store."""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from shared.files.local import LocalStore
from tests.integration.worker.floor import DEADLINE_S, Floor, Workplace, gif, open_workplace
from worker import pictures, tasks
from worker.engine.fake import FakeRunner, FakeState
from worker.engine.job import Job
from worker.engine.protocol import Decoded

HOSTILE = gif((32, 32))
"""Of a format that is always decoded aside."""


@pytest.fixture(autouse=True)
def hang(monkeypatch: pytest.MonkeyPatch) -> Generator[threading.Event]:
    """Pillow hangs in the hostile picture until this is set."""
    on, decode = threading.Event(), pictures.decode

    def hanging(content: bytes, *, max_px: int) -> Image.Image:
        if content == HOSTILE:
            on.wait(2 * DEADLINE_S)
        return decode(content, max_px=max_px)

    monkeypatch.setattr(pictures, "decode", hanging)
    monkeypatch.setattr(tasks, "_LEAVING_S", 0.1)
    yield on
    on.set()


@contextmanager
def one_seat(floor: Floor, runner: Any = None, **options: Any) -> Generator[Workplace]:
    with open_workplace(floor, runner, concurrency=1, **options) as workplace:
        yield workplace


def test_a_picture_that_hangs_its_decoder_is_refused_and_the_next_is_painted(floor: Floor) -> None:
    hostile, good = floor.submit(HOSTILE, tenant="mallory"), floor.submit()
    with one_seat(floor, longest_s=4) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 2
    assert floor.problem(hostile)["type"] == "image_load_error"
    assert floor.output(good)["seed"] == 7


def test_a_total_timeout_counts_while_a_picture_is_decoded(floor: Floor) -> None:
    id = floor.submit(HOSTILE, total_timeout_ms=300)
    with one_seat(floor) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 1
    result = floor.finished(id)
    assert (result.status, result.error_type) == (504, "request_timeout")


def test_a_request_can_be_cancelled_while_its_picture_is_decoded(floor: Floor) -> None:
    id = floor.submit(HOSTILE)
    with one_seat(floor) as workplace:
        workplace.answer()
        floor.running(id)
        floor.cancel(id)
        assert floor.finished(id).status == 499


def test_a_worker_whose_threads_all_hang_starts_anew(floor: Floor) -> None:
    ids = [floor.submit(HOSTILE, tenant=tenant) for tenant in ("ann", "bob")]
    with one_seat(floor, longest_s=0.1, grace_s=0) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 2
        workplace.station.look_aside()
        assert workplace.exits.get(timeout=DEADLINE_S) == 70
    assert [floor.problem(id)["type"] for id in ids] == ["image_load_error"] * 2


class Stuck(FakeRunner):
    """Its decoding takes until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.on = threading.Event()

    def decode(self, state: FakeState, *, job: Job) -> Decoded:
        self.on.wait(2 * DEADLINE_S)
        return super().decode(state, job=job)


def test_a_total_timeout_counts_while_the_result_is_decoded(floor: Floor) -> None:
    id, runner = floor.submit(total_timeout_ms=300), Stuck()
    with one_seat(floor, runner) as workplace:
        try:
            assert workplace.answer().result(DEADLINE_S) == 1
        finally:
            runner.on.set()
    assert floor.finished(id).error_type == "request_timeout"


class SlowStore(LocalStore):
    def put(self, key: str, *args: Any, **more: Any) -> Any:
        if key.startswith("results/"):
            time.sleep(0.6)
        return super().put(key, *args, **more)


def test_a_total_timeout_counts_while_the_result_is_stored(floor: Floor) -> None:
    floor.store = SlowStore(floor.folder / "files")
    id = floor.submit(total_timeout_ms=500)
    with one_seat(floor) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 1
    assert floor.finished(id).error_type == "request_timeout"


class FarStore(LocalStore):
    """As one across a network: a read may not end before it is told."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.on = threading.Event()

    @property
    def is_local(self) -> bool:
        return False

    def read(self, key: str, **more: Any) -> Iterator[bytes]:
        self.on.wait(2 * DEADLINE_S)
        return super().read(key, **more)


def test_a_request_can_be_cancelled_while_a_far_store_hangs(floor: Floor) -> None:
    floor.store = store = FarStore(floor.folder / "files")
    id = floor.submit()
    with one_seat(floor) as workplace:
        workplace.answer()
        floor.running(id)
        floor.cancel(id)
        try:
            assert floor.finished(id).status == 499
        finally:
            store.on.set()
