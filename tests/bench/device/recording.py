"""Whether graphs can be recorded beside a thread that convolves, after all are gone, and after one that failed: what a
worker's life depends on.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.bench.device.bench import Bench
from worker.model.device import Record, use_of

_WIDTH = 64


def recorded(bench: Bench) -> None:
    figures: dict[str, object] = {}

    def told(name: str, figure: object) -> None:
        figures[name] = figure
        bench.sheet.put("recording", figures)

    with torch.inference_mode(), bench.checkpoint.device.stream("build"):
        record = bench.checkpoint.device.recorder()
        told("by itself", _is_right(bench, record, 16))
        told("after all are gone", _is_right(bench, record, 16))
        other = _Other(bench)
        try:
            began_s = time.perf_counter()
            told("beside a thread", all(_is_right(bench, record, side) for side in range(17, 33)))
            told("each_ms", 1000 * (time.perf_counter() - began_s) / 16)
        finally:
            other.stop()
            told("other_calls", other.calls)
            told("other_failed", other.failed)


def refused(bench: Bench) -> None:
    """The last of all: if torch cannot be mended after that, nothing can be measured either."""

    def waiting() -> tuple[Tensor]:
        return (torch.ones(1 + int(_numbers(bench, 1).gt(0).item())),)

    name, figures = "recording, after one that failed", dict[str, object]()
    with torch.inference_mode(), bench.checkpoint.device.stream("build"):
        record = bench.checkpoint.device.recorder()
        try:
            record(waiting)
        except RuntimeError as error:
            figures["refused"] = str(error).splitlines()[0]
            bench.sheet.put(name, figures)
        figures["is right"] = _is_right(bench, record, 40)
        bench.sheet.put(name, figures)


def _is_right(bench: Bench, record: Record, side: int) -> bool:
    """Of a graph: that it does the same again, on other numbers in the same place."""
    rows, weight = _numbers(bench, 2, _WIDTH, side, side), _numbers(bench, _WIDTH, _WIDTH, 3, 3)

    def convolved() -> tuple[Tensor]:
        return (functional.conv2d(rows, weight),)

    (wanted,) = convolved()
    again: Callable[[], Any] = record(convolved)
    rows.neg_()
    (said,) = again()
    bench.checkpoint.device.finish()
    return bool(torch.allclose(said, -wanted, rtol=1e-2, atol=1e-1))


class _Other:
    """A thread that convolves another size each time, so that kernels are chosen anew, and gives memory back."""

    def __init__(self, bench: Bench) -> None:
        self.calls, self.failed = 0, ""
        self._bench = bench
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._convolve(8 + self.calls % 200)
                self.calls += 1
        except Exception as error:  # noqa: BLE001 - a figure, too
            self.failed = f"{type(error).__name__}: {error}"

    def _convolve(self, side: int) -> None:
        device = self._bench.checkpoint.device
        with torch.inference_mode(), use_of(device), device.stream("finish"):
            rows, weight = _numbers(self._bench, 1, _WIDTH, side, 24), _numbers(self._bench, _WIDTH, _WIDTH, 3, 3)
            functional.conv2d(rows, weight).sum().item()
            device.free()


def _numbers(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(shape, device=bench.checkpoint.device.torch, dtype=bench.checkpoint.dtype)
