"""What differs between a processor and a GPU: who waits for whom. The rest of the code does not ask where it runs.

Work of different kinds goes down different CUDA streams, each in order; between two of them a moment (an event) says
what comes after what. Nothing here makes the host wait but `pace` and `finish`.
"""

import platform
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from shared.errors import DeviceLost, OutOfMemory

Tensors = tuple[Tensor, ...]
Record = Callable[[Callable[[], Tensors]], Callable[[], Tensors]]
Purpose = Literal["build", "copy", "finish", "prepare"]
"""Of a stream. Steps go down the thread's own: CUDA's default one."""


def name_of(dtype: torch.dtype) -> str:
    """As settings have it: `float16`."""
    return str(dtype).removeprefix("torch.")


class Device(Protocol):
    torch: torch.device

    @property
    def name(self) -> str:
        """Equal for devices on which the same work takes the same time and memory."""
        ...

    def pace(self) -> None:
        """Called once a step: keeps the host at most one step ahead of the device."""
        ...

    def send(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor of the host's, without waiting for what the device does."""
        ...

    def mark(self) -> object:
        """Names this moment of the stream that this thread is in."""
        ...

    def wait(self, moment: object, *inputs: Tensor) -> None:
        """What follows on this thread's stream comes after `moment`; it may read `inputs`, made on another stream."""
        ...

    def stream(self, purpose: Purpose, *inputs: Tensor, after: object = None) -> AbstractContextManager[None]:
        """What is done inside goes down that stream, after that moment, beside what others do."""
        ...

    def recorder(self) -> Record:
        """Of a call, what does the same again, with the same tensors, at the least cost for the host. The call has to
        have run before; what it returns is overwritten by the next one of this recorder's."""
        ...

    def finish(self) -> None:
        """Waits until all that this thread's stream was given is done."""
        ...

    def free(self) -> None:
        """Gives cached memory back."""
        ...


class Processor:
    """Everything happens at once when it is called: nothing to wait for."""

    def __init__(self) -> None:
        self.torch = torch.device("cpu")

    @property
    def name(self) -> str:
        return f"{platform.machine()} processor, {torch.get_num_threads()} threads"

    def pace(self) -> None:
        return

    def send(self, tensor: Tensor) -> Tensor:
        return tensor

    def mark(self) -> object:
        return None

    def wait(self, moment: object, *inputs: Tensor) -> None:  # noqa: ARG002
        return

    def stream(self, purpose: Purpose, *inputs: Tensor, after: object = None) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def recorder(self) -> Record:
        return lambda call: call

    def finish(self) -> None:
        return

    def free(self) -> None:
        return


class Gpu:
    """A CUDA device. What is recorded are CUDA graphs; those of one recorder share their memory: one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        purposes: tuple[Purpose, ...] = ("build", "copy", "finish", "prepare")
        self._streams: dict[Purpose, torch.cuda.Stream] = {it: torch.cuda.Stream(device) for it in purposes}
        self._last: torch.cuda.Event | None = None

    @property
    def name(self) -> str:
        _, total_bytes = torch.cuda.mem_get_info(self.torch)
        return f"{torch.cuda.get_device_name(self.torch)}, {total_bytes / 2**30:.0f} GiB"

    def pace(self) -> None:
        last, self._last = self._last, self.mark()
        if last is not None:
            last.synchronize()

    def send(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.torch, non_blocking=True)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.torch))
        return event

    def wait(self, moment: object, *inputs: Tensor) -> None:
        stream = torch.cuda.current_stream(self.torch)
        if isinstance(moment, torch.cuda.Event):
            stream.wait_event(moment)
        for tensor in inputs:
            tensor.record_stream(stream)

    @contextmanager
    def stream(self, purpose: Purpose, *inputs: Tensor, after: object = None) -> Generator[None]:
        with torch.cuda.stream(self._streams[purpose]):
            self.wait(after, *inputs)
            yield

    def recorder(self) -> Record:
        # The stream is for nothing but recording: what cuBLAS works on there is then in the graphs' own memory, and not
        # shared with what else goes down a stream while a graph is replayed.
        stream, pool = torch.cuda.Stream(self.torch), torch.cuda.graph_pool_handle()

        def record(call: Callable[[], Tensors]) -> Callable[[], Tensors]:
            graph = torch.cuda.CUDAGraph()
            stream.wait_stream(torch.cuda.current_stream(self.torch))
            # Not by `torch.cuda.graph`: it stops the whole device before, and gives back the memory that others need.
            with torch.cuda.stream(stream):
                # Other threads go on using the device: only this one must do nothing that cannot be recorded.
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    said = call()
                finally:
                    _end(graph, pool)
            return _Replay(graph, said, call)

        return record

    def finish(self) -> None:
        torch.cuda.current_stream(self.torch).synchronize()

    def free(self) -> None:
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class _Replay:
    """`call` holds what the graph reads."""

    graph: torch.cuda.CUDAGraph
    said: Tensors
    call: Callable[[], Tensors]

    def __call__(self) -> Tensors:
        self.graph.replay()
        return self.said


def _end(graph: torch.cuda.CUDAGraph, pool: object) -> None:
    try:
        graph.capture_end()
    except RuntimeError:
        # torch forgets to say that the recording is over, and would give no memory back from here on.
        cast("Any", torch)._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)  # noqa: SLF001
        raise


def open_device(device: torch.device) -> Device:
    return Gpu(device) if device.type == "cuda" else Processor()


@contextmanager
def faults_of(device: Device) -> Generator[None]:
    """Turns torch's ways to say that memory is full into `OutOfMemory`, and a CUDA error, after which every call in the
    process fails, into `DeviceLost`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        with suppress(RuntimeError):  # it cannot be done while a graph is recorded
            device.free()
        raise OutOfMemory from error
    except RuntimeError as error:
        if "DefaultCPUAllocator: can't allocate memory" in str(error):
            raise OutOfMemory("CPU error: out of memory") from error
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise DeviceLost from error
        raise
