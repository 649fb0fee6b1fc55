"""Who waits for whom while a graph is recorded, and which memory graphs share. torch's own rules stand in for torch:
there is no CUDA here."""

import gc
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import finalize

import pytest
import torch
from torch import Tensor

from worker.model.recording import Recorder, SharedLock, Tensors

WAIT_S = 10


def begun(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class Holder:
    """A thread that takes a turn and keeps it until it is told."""

    def __init__(self, turn: Any) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()
        self._thread = begun(lambda: self._hold(turn))

    def _hold(self, turn: Any) -> None:
        with turn():
            self.inside.set()
            assert self._leave.wait(WAIT_S)

    def let_go(self) -> None:
        self._leave.set()

    def leave(self) -> None:
        """As soon as it is inside."""
        self.let_go()
        assert self.inside.wait(WAIT_S)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def test_many_share_and_the_exclusive_turn_waits_for_all_of_them() -> None:
    lock = SharedLock()
    sharers = [Holder(lock.shared) for _ in range(2)]
    assert all(it.inside.wait(WAIT_S) for it in sharers)
    alone = Holder(lock.exclusive)
    sharers[0].leave()
    assert not alone.inside.wait(0.1)
    sharers[1].leave()
    assert alone.inside.wait(WAIT_S)
    others = [Holder(lock.shared), Holder(lock.exclusive)]
    assert not any(it.inside.wait(0.1) for it in others)
    alone.leave()
    for it in others:
        it.let_go()
    for it in others:
        it.leave()


def test_who_waits_for_the_exclusive_turn_lets_nobody_else_in_but_who_is_there_already() -> None:
    lock = SharedLock()
    with lock.shared():
        alone = Holder(lock.exclusive)
        late = Holder(lock.shared)
        assert not alone.inside.wait(0.1)
        with lock.shared():
            pass
        assert not late.inside.wait(0.1)
    assert alone.inside.wait(WAIT_S)
    assert not late.inside.is_set()
    alone.leave()
    assert late.inside.wait(WAIT_S)
    late.leave()


def test_a_turn_ends_with_what_went_wrong_in_it() -> None:
    lock = SharedLock()
    for turn in (lock.shared, lock.exclusive, lock.shared):
        with pytest.raises(ValueError, match="planted"), turn():
            raise ValueError("planted")


class Torch:
    """CUDA graphs as torch 2.11 has them: a handle is good for as long as a graph of it lives, or as none was made; one
    whose recording failed is none any more."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.handles = 0
        self.given_up: list[int] = []
        self.released: list[int] = []
        self.living: dict[int, int] = {}
        self.failed: set[int] = set()
        outer = self

        class Graph:
            pool = 0

            def capture_begin(self, *, pool: int, capture_error_mode: str) -> None:
                assert capture_error_mode == "thread_local", "the others go on"
                if pool in outer.failed or outer.living.get(pool) == 0:
                    raise RuntimeError("INTERNAL ASSERT FAILED")
                self.pool = pool

            def capture_end(self) -> None:
                if self.pool in outer.failed:
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
                outer.living[self.pool] = outer.living.get(self.pool, 0) + 1
                finalize(self, outer.gone, self.pool)

            def replay(self) -> None:
                return

        class Stream:
            def __init__(self, *_: object) -> None:
                self.waited_for: list[object] = []

            def wait_stream(self, other: object) -> None:
                self.waited_for.append(other)

        def current_stream(_: object) -> Stream:
            return Stream()

        cuda: Any = torch.cuda
        patch.setattr(cuda, "CUDAGraph", Graph)
        patch.setattr(cuda, "Stream", Stream)
        patch.setattr(cuda, "stream", nullcontext)
        patch.setattr(cuda, "current_stream", current_stream)
        patch.setattr(cuda, "current_device", int)
        patch.setattr(cuda, "graph_pool_handle", self.handle)
        patch.setattr("torch._C._cuda_endAllocateToPool", self.give_up, raising=False)
        patch.setattr("torch._C._cuda_releasePool", self.release, raising=False)

    def handle(self) -> int:
        self.handles += 1
        return self.handles

    def give_up(self, device: int, pool: int) -> None:
        assert device == 0
        self.given_up.append(pool)

    def release(self, device: int, pool: int) -> None:
        assert device == 0
        self.released.append(pool)

    def gone(self, pool: int) -> None:
        self.living[pool] -= 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Torch:
    return Torch(monkeypatch)


def said() -> Tensors:
    return (torch.ones(1),)


def recorder(lock: SharedLock | None = None) -> Recorder:
    return Recorder(torch.device("cuda"), lock or SharedLock())


def test_graphs_share_their_memory_for_as_long_as_one_of_them_lives(fake: Torch) -> None:
    record = recorder()
    first, second = record(said), record(said)
    assert fake.living == {1: 2}
    assert torch.equal(first()[0], Tensor([1]))
    del first
    third = record(said)
    assert fake.living == {1: 2}
    del second, third
    gc.collect()
    assert fake.living == {1: 0}
    kept = record(said)
    assert fake.living == {1: 0, 2: 1}
    del kept


def test_after_one_that_failed_the_next_is_recorded_into_other_memory(fake: Torch) -> None:
    record = recorder()
    kept = record(said)

    def failing() -> Tensors:
        fake.failed.add(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError):
        record(failing)
    assert fake.given_up == fake.released == [1], "or no memory would be given back any more"
    next_one = record(said)
    assert fake.living == {1: 1, 2: 1}
    del kept, next_one


def test_nobody_uses_the_device_while_a_graph_is_recorded(fake: Torch) -> None:
    lock = SharedLock()
    user: list[Holder] = []

    def watched() -> Tensors:
        user.append(Holder(lock.shared))
        assert not user[0].inside.wait(0.1)
        return said()

    kept = recorder(lock)(watched)
    assert user[0].inside.wait(WAIT_S)
    user[0].leave()
    del kept
