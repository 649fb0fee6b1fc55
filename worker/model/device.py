"""What differs between a processor and a GPU: who waits for whom. The rest of the code does not ask where it runs."""

import platform
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from shared.errors import OutOfMemory


class Device(Protocol):
    torch: torch.device

    @property
    def name(self) -> str:
        """Equal for devices on which the same work takes the same time and memory."""
        ...

    def pace(self) -> None:
        """Called once a step: keeps the host at most one step ahead of the device."""
        ...

    def mark(self) -> object:
        """Names this moment of the engine's thread, for `beside`."""
        ...

    def beside(self, moment: object, *inputs: Tensor) -> AbstractContextManager[None]:
        """What is done inside runs after `moment`, but beside what the engine's thread does next."""
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

    def mark(self) -> object:
        return None

    def beside(self, moment: object, *inputs: Tensor) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def free(self) -> None:
        return


class Gpu:
    """Steps go to the default stream and finished pictures to one of their own."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        self._finishing = torch.cuda.Stream(device)
        self._last: torch.cuda.Event | None = None

    @property
    def name(self) -> str:
        _, total_bytes = torch.cuda.mem_get_info(self.torch)
        return f"{torch.cuda.get_device_name(self.torch)}, {total_bytes / 2**30:.0f} GiB"

    def pace(self) -> None:
        event = torch.cuda.Event()
        event.record(torch.cuda.default_stream(self.torch))
        if self._last is not None:
            self._last.synchronize()
        self._last = event

    def mark(self) -> object:
        event = torch.cuda.Event()
        event.record(torch.cuda.default_stream(self.torch))
        return event

    @contextmanager
    def beside(self, moment: object, *inputs: Tensor) -> Generator[None]:
        with torch.cuda.stream(self._finishing):
            if isinstance(moment, torch.cuda.Event):
                self._finishing.wait_event(moment)
            for tensor in inputs:
                tensor.record_stream(self._finishing)
            yield

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
