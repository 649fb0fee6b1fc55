"""What every measurement has at hand: the model, a runner of its own, the sheet, and what is to be said on it about the
device and about how the UNet was called.
"""

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch.backends import cudnn
from torch.nn.attention import SDPBackend

from tests.bench.device.model import Work, count_work
from tests.bench.device.painting import Scale
from tests.bench.device.sheet import Sheet
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Checkpoint
from worker.model.graphs import Shape
from worker.model.tuning import Tuning, preferred_attention

T = TypeVar("T")
PEAK = 790e12
"""Operations a second that an H200 was measured to do in half precision: what shares are given of."""


@dataclass(frozen=True)
class Bench:
    sheet: Sheet
    scale: Scale
    checkpoint: Checkpoint
    best: Tuning
    """All that the device is good for."""

    @property
    def cuda(self) -> bool:
        return self.checkpoint.device.torch.type == "cuda"

    @cached_property
    def work(self) -> Work | None:
        """None where torch cannot count it: a share less, not all figures of a section."""
        try:
            return count_work(self.checkpoint, self.scale.side)
        except Exception as error:  # noqa: BLE001
            self.sheet.put("work", {"failed": f"{type(error).__name__}: {error}"})
            return None

    def peak_share(self, flop: Callable[[Work], float], seconds: float) -> dict[str, float]:
        """Of what is done in so many seconds."""
        return {} if self.work is None else {"peak_share": flop(self.work) / seconds / PEAK}

    @property
    def done(self) -> int:
        """Steps of a picture."""
        return int(self.scale.steps * 0.85)

    def section(self, name: str, needs_s: float, measure: Callable[[], T]) -> T | None:
        """One of the sheet's, with the memory of what was before given back. On a processor none comes too late."""

        def afresh() -> T:
            if self.cuda:
                gc.collect()  # what lies in cycles
                self.checkpoint.device.free()
                self.memory()
            return measure()

        return self.sheet.section(name, needs_s if self.cuda else 0, afresh)

    @contextmanager
    def runner(self, tuning: Tuning, **options: Any) -> Generator[TorchRunner]:
        """Compiles as a new process would: what others compiled is only in the cache on disk."""
        vae: Any = self.checkpoint.vae
        vae.to(memory_format=torch.contiguous_format)  # it is shared, and may have another layout from a runner before
        runner = TorchRunner(self.checkpoint, tuning=tuning, **options)
        try:
            yield runner
        finally:
            runner.close()
            if tuning.compile != "off":
                torch.compiler.reset()

    def settle(self, runner: TorchRunner) -> None:
        """Waits until all that was called is built. Raises `TimeoutError` when the part's time is up before."""
        runner.settle(max(0.0, self.sheet.left_s))
        if self.sheet.left_s <= 0:
            raise TimeoutError("still building when the time was up")

    def way(self, runner: TorchRunner, *, side: int | None = None, pictures: int = 1) -> str:
        """How a step of so many guided pictures is really called: see `Denoiser.way`. `side`: the usual one."""
        side = side or self.scale.side
        key = runner.key(side, side, precise=False)
        return runner._models[key.dtype].denoiser.way(Shape(2 * pictures, key.height, key.width))  # pyright: ignore[reportPrivateUsage]

    def kernels(self) -> dict[str, str]:
        """Attention's order that is in force, and what torch takes by it for the largest self-attention at 1024²; and
        who chooses the convolutions'."""
        device, dtype = self.checkpoint.device.torch, self.checkpoint.dtype
        rows: Any = torch.empty((2, 10, 4096, 64), device=device, dtype=dtype)
        torch_: Any = torch
        try:
            taken = SDPBackend(torch_._fused_sdp_choice(rows, rows, rows)).name.removesuffix("_ATTENTION").lower()
        except Exception as error:  # noqa: BLE001 - torch promises no such call: a word less, not a section
            taken = f"unknown, {type(error).__name__}"
        convolutions = ("timed" if cudnn.benchmark else "cuDNN's choice") if cudnn.enabled else "without cuDNN"
        order = ", ".join(preferred_attention()) or "torch's own"
        return {"attention": taken, "attention_order": order, "convolutions": convolutions}

    def times_stock(self, seconds: float) -> dict[str, float]:
        """Beside what the stock pipeline took in this run; empty where that is not known."""
        stock_s = self.sheet.figures.get("stock", {}).get("seconds")
        return {} if stock_s is None else {"times_stock": stock_s / seconds}

    def memory(self) -> dict[str, float]:
        """The most so far, in GiB; begins anew."""
        if not self.cuda:
            return {}
        most = {
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
        }
        torch.cuda.reset_peak_memory_stats()
        return most
