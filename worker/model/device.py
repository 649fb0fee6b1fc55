"""What differs between a processor and a GPU: who waits for whom. The rest of the code does not ask where it runs.

Work of different kinds goes down different lanes (CUDA streams), each in order; between two lanes a moment (an event)
says what comes after what. Nothing here makes the host wait but `pace` and `finish`.
"""

import platform
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol

import torch
from torch import Tensor

from shared.errors import OutOfMemory

Lane = Literal["build", "copy", "finish", "prepare"]
"""Steps go down the thread's own: CUDA's default stream."""


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
        """Names this moment of the lane that this thread is in."""
        ...

    def wait(self, moment: object, *inputs: Tensor) -> None:
        """What follows on this thread's lane comes after `moment`; it may read `inputs`, made on another lane."""
        ...

    def lane(self, name: Lane, *inputs: Tensor, after: object = None) -> AbstractContextManager[None]:
        """What is done inside goes down this lane, after that moment, beside what other threads and lanes do."""
        ...

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """What does the same again, with the same tensors, at the least cost for the host. `call` has to have run
        before; what it returns is overwritten by the next one's, of whatever was recorded here."""
        ...

    def finish(self) -> None:
        """Waits until all that this thread's lane was given is done."""
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

    def lane(self, name: Lane, *inputs: Tensor, after: object = None) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return call

    def finish(self) -> None:
        return

    def free(self) -> None:
        return


class Gpu:
    """A CUDA device; what `record` returns are CUDA graphs, which share their memory: one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        lanes: tuple[Lane, ...] = ("build", "copy", "finish", "prepare")
        self._lanes: dict[Lane, torch.cuda.Stream] = {lane: torch.cuda.Stream(device) for lane in lanes}
        self._pool = torch.cuda.graph_pool_handle()
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
    def lane(self, name: Lane, *inputs: Tensor, after: object = None) -> Generator[None]:
        with torch.cuda.stream(self._lanes[name]):
            self.wait(after, *inputs)
            yield

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        graph = torch.cuda.CUDAGraph()
        # Other threads go on using the device meanwhile: only this one must do nothing that cannot be recorded.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._lanes["build"], capture_error_mode="thread_local"):
            said = call()

        def again() -> Tensor:
            graph.replay()
            return said

        return again

    def finish(self) -> None:
        torch.cuda.current_stream(self.torch).synchronize()

    def free(self) -> None:
        torch.cuda.empty_cache()


def open_device(device: torch.device) -> Device:
    return Gpu(device) if device.type == "cuda" else Processor()


@contextmanager
def memory_of(device: Device) -> Generator[None]:
    """Turns torch's ways to say that memory is full into `OutOfMemory`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        device.free()
        raise OutOfMemory from error
    except RuntimeError as error:
        if "DefaultCPUAllocator: can't allocate memory" not in str(error):
            raise
        raise OutOfMemory("CPU error: out of memory") from error
