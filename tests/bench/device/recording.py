"""Whether graphs can be recorded beside a thread that convolves, after one that failed, and after all are gone: what a
worker's life depends on, before anything is measured.
"""

import threading
import time

import torch
from torch import Tensor
from torch.nn import functional

from tests.bench.device.bench import Bench
from worker.model.device import use_of

_WIDTH = 64


def recording(bench: Bench) -> None:
    device = bench.checkpoint.device
    record, weight = device.recorder(), _numbers(bench, _WIDTH, _WIDTH, 3, 3)
    figures: dict[str, object] = {}

    def convolved(rows: Tensor) -> tuple[Tensor]:
        return (functional.conv2d(rows, weight),)

    def is_right(side: int) -> bool:
        rows = _numbers(bench, 2, _WIDTH, side, side)
        (wanted,) = convolved(rows)
        again = record(lambda: convolved(rows))
        rows.neg_()
        (said,) = again()
        device.finish()
        return bool(torch.allclose(said, -wanted, rtol=1e-2, atol=1e-2))

    def refused() -> tuple[Tensor]:
        return (torch.ones(int(weight.sum().item()) or 1),)

    with torch.inference_mode(), device.stream("build"):
        figures["by itself"] = is_right(16)
        stop, seen = threading.Event(), list[int]()
        other = threading.Thread(target=_convolve, args=(bench, stop, seen))
        other.start()
        try:
            began_s = time.perf_counter()
            figures["beside a thread"] = all(is_right(side) for side in range(17, 33))
            figures["each_ms"] = 1000 * (time.perf_counter() - began_s) / 16
        finally:
            stop.set()
            other.join()
        figures["other_calls"] = len(seen)
        try:
            record(refused)
        except RuntimeError as error:
            figures["refused"] = str(error).splitlines()[0]
        figures["after that"] = is_right(40)
        device.free()
    bench.sheet.put("recording", figures)


def _convolve(bench: Bench, stop: threading.Event, seen: list[int]) -> None:
    """Another size each time, so that kernels are chosen anew, and memory given back in between."""
    device = bench.checkpoint.device
    while not stop.is_set():
        with torch.inference_mode(), use_of(device), device.stream("finish"):
            rows = _numbers(bench, 1, _WIDTH, 8 + len(seen) % 200, 24)
            functional.conv2d(rows, _numbers(bench, _WIDTH, _WIDTH, 3, 3)).sum().item()
            device.free()
        seen.append(1)


def _numbers(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(shape, device=bench.checkpoint.device.torch, dtype=bench.checkpoint.dtype)
