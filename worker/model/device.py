"""What differs between a processor and a GPU: who waits for whom. The rest of the code does not ask where it runs.

Work of different kinds goes down different CUDA streams, each in order; between two of them a moment (an event) says
what comes after what. Nothing here makes the host wait but `pace` and `finish`.
"""

import platform
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from shared.errors import DeviceLost, OutOfMemory
from worker.model.recording import Recorder, SharedLock, Tensors

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

    def shared(self) -> AbstractContextManager[None]:
        """For what is asked of the device by threads that do not record: meanwhile nobody does. May be nested."""
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

    def shared(self) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self) -> None:
        return

    def free(self) -> None:
        return


class Gpu:
    """A CUDA device; what is recorded are CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        purposes: tuple[Purpose, ...] = ("build", "copy", "finish", "prepare")
        self._streams: dict[Purpose, torch.cuda.Stream] = {it: torch.cuda.Stream(device) for it in purposes}
        self._last: torch.cuda.Event | None = None
        self._lock = SharedLock()

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
        return Recorder(self.torch, self._lock)

    @contextmanager
    def shared(self) -> Generator[None]:
        with self._lock.shared(), torch.cuda.device(self.torch):
            yield

    def finish(self) -> None:
        torch.cuda.current_stream(self.torch).synchronize()

    def free(self) -> None:
        with suppress(RuntimeError):  # it cannot be done while a graph is recorded
            torch.cuda.empty_cache()


def open_device(device: torch.device) -> Device:
    return Gpu(device) if device.type == "cuda" else Processor()


@contextmanager
def use_of(device: Device) -> Generator[None]:
    """For everything that a thread asks of the device but recording. Raises as `faults_of`."""
    with device.shared(), faults_of(device):
        yield


_HOST_FULL: Final = ("can't allocate memory", "bad_alloc")
_DEVICE_FULL: Final = (
    "out of memory",  # CUDA's own, as when a graph is launched
    "ALLOC_FAILED",  # cuBLAS and older versions of cuDNN
    "ALLOCATION_FAILED",  # cuDNN
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what a thread sets up the first time had no room
    "unable to find an engine to execute",  # a convolution, for none of whose kernels there was room to work in
)
_REFUSED: Final = ("NOT_SUPPORTED", "INVALID_VALUE")
"""By a library, before anything was asked of the device."""


def is_full(error: RuntimeError) -> bool:
    """Whether it says, in one of torch's ways, that a device has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in _DEVICE_FULL)


@contextmanager
def faults_of(device: Device) -> Generator[None]:
    """Turns torch's ways to say that memory is full into `OutOfMemory`, and a CUDA error, after which every call in the
    process fails, into `DeviceLost`."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("CPU error: out of memory") from error
    except RuntimeError as error:
        said = str(error)
        if any(word in said for word in _HOST_FULL):
            raise OutOfMemory("CPU error: out of memory") from error
        if is_full(error):
            device.free()
            raise OutOfMemory from error
        is_cudas = isinstance(error, torch.AcceleratorError) or "CUDA error" in said
        if is_cudas and not any(word in said for word in _REFUSED):
            raise DeviceLost from error
        raise
