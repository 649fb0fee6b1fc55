"""How CUDA graphs are recorded in a process whose other threads use the device, too.

Little of what a thread does there is safe while another one records: what a first call sets up, or memory that is given
back, may stop the whole device, which ends a recording, and hands both of them an error that is neither's. A recording
takes a tenth of a second of the host's time, so the others simply wait for it, and it for what they are at.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


class SharedLock:
    """A readers-writer lock. Who waits for the exclusive turn lets nobody else in; a thread that has a shared one may
    take it again."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._sharers = 0
        self._exclusive = False
        """Whether somebody has it for himself, or waits for that."""
        self._mine = threading.local()

    @contextmanager
    def shared(self) -> Generator[None]:
        depth: int = getattr(self._mine, "depth", 0)
        if not depth:
            with self._change:
                self._change.wait_for(lambda: not self._exclusive)
                self._sharers += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if not depth:
                with self._change:
                    self._sharers -= 1
                    self._change.notify_all()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Not for a thread that has a shared turn: it would wait for itself."""
        with self._change:
            self._change.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            self._change.wait_for(lambda: not self._sharers)
        try:
            yield
        finally:
            with self._change:
                self._exclusive = False
                self._change.notify_all()


class Recorder:
    """Records calls as CUDA graphs, which share their memory: one runs at a time. For one thread."""

    def __init__(self, device: torch.device, lock: SharedLock) -> None:
        self._device, self._lock = device, lock
        # For nothing but recording: what cuBLAS works on there is then in the graphs' own memory, and not shared with
        # what else goes down a stream while a graph is replayed.
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None
        self._living: WeakSet[_Replay] = WeakSet()

    def __call__(self, call: Callable[[], Tensors]) -> Callable[[], Tensors]:
        """What does the same again. The call has to have run before, on this thread."""
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        # Not by `torch.cuda.graph`: it stops the whole device before, and gives back the memory that others need.
        with torch.cuda.stream(self._stream), self._lock.exclusive():
            if not self._living:  # torch refuses a handle whose last graph is gone
                self._pool = None
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            try:
                said = self._recorded(graph, call)
            except BaseException:
                self._give_up()
                raise
        replay = _Replay(graph, said, call)
        self._living.add(replay)
        return replay

    def _recorded(self, graph: torch.cuda.CUDAGraph, call: Callable[[], Tensors]) -> Tensors:
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            return call()
        finally:
            graph.capture_end()

    def _give_up(self) -> None:
        """What is torch's of a recording that failed may go on for good, and then nothing is recorded into the same
        pool; before 2.12 it does, and neither that pool's memory nor any other is given back until it is told."""
        pool, self._pool = self._pool, None
        self._living = WeakSet()
        device, bindings = torch.cuda.current_device(), cast("Any", torch)._C  # noqa: SLF001
        with suppress(RuntimeError):  # it is over already
            bindings._cuda_endAllocateToPool(device, pool)  # noqa: SLF001
            bindings._cuda_releasePool(device, pool)  # noqa: SLF001


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Replay:
    """`call` holds what the graph reads."""

    graph: torch.cuda.CUDAGraph
    said: Tensors
    call: Callable[[], Tensors]

    def __call__(self) -> Tensors:
        self.graph.replay()
        return self.said
