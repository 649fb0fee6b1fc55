"""Everything about a device, in one run of a few minutes.

    python -m tests.bench.device [--seconds 500] [--json out.json] [--model full|tiny] [--dtype float16]

Needs PyTorch and what docs/performance.md says to bring along. Prints each figure when it has it, and keeps them all
in the file. On a processor it takes the tiny model, to see that it works; its figures mean nothing there.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tests.bench.device import sections
from tests.bench.device.model import count_work, open_model
from tests.bench.device.painting import FULL, TINY, paint
from tests.bench.device.sections import Bench
from tests.bench.device.sheet import Sheet
from worker.engine.runner import TorchRunner
from worker.model.tuning import tuned_for

_COLD_S = 75.0
"""A cold start with all that is compiled, and the time to make the model; about."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", choices=("full", "tiny"))
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--cold", action="store_true", help="one picture by a fresh process, and how long it took")
    wanted = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = FULL if (wanted.model or ("full" if device.type == "cuda" else "tiny")) == "full" else TINY
    dtype = getattr(torch, wanted.dtype or ("float16" if device.type == "cuda" else "float32"))
    sheet = Sheet(wanted.json, wanted.seconds)
    sheet.put("here", _here(device, dtype, scale.model))
    checkpoint = open_model(scale.model, device, dtype)
    sheet.put("model", {"seconds": time.monotonic() - sheet.began_s})
    best = tuned_for(device)
    bench = Bench(sheet, scale, checkpoint, count_work(checkpoint, scale.side), best)
    if wanted.cold:
        _cold(bench)
    else:
        _measure(bench, wanted.dtype)


def _measure(bench: Bench, dtype: str | None) -> None:
    sheet = bench.sheet
    floor_s = bench.work.picture(bench.done) / sections.PEAK
    sheet.put("work", {"tflop_a_picture": bench.work.picture(bench.done) / 1e12, "floor_s": floor_s})
    sheet.section("ceilings", 5, lambda: sections.ceilings(bench))
    sheet.section("stock", 20, lambda: sections.stock(bench))
    exact = sections.reference(bench)
    if not bench.cuda:  # everything is wired as on a GPU, but compiling for a processor would take minutes
        tried = replace(tuned_for(torch.device("cuda")), compile="off")
        bench = replace(bench, best=tried)
    rungs = sections.ladder(bench.best)
    sections.climb(bench, exact, rungs if bench.cuda else {name: rungs[name] for name in ("precision", "graphs")})
    parts: list[tuple[str, float, Callable[[], None]]] = [
        (name, needs_s, partial(measure, bench)) for name, (measure, needs_s) in sections.SECTIONS.items()
    ]
    for name, needs_s, measure in parts:
        sheet.section(name, needs_s if bench.cuda else 0, measure)
    if bench.cuda:
        with tempfile.TemporaryDirectory() as cache:
            for name in ("cold start, empty cache", "cold start, full cache"):
                sheet.section(name, _COLD_S, partial(_start_cold, bench, name, cache, dtype))
        whole = replace(bench.best, compile="whole")
        sections.climb(bench, exact, {"whole, channels_last": whole})
    sections.climb(bench, exact, sections.lossy(bench.best))
    sheet.put("end", {"seconds": time.monotonic() - sheet.began_s})


def _start_cold(bench: Bench, name: str, cache: str, dtype: str | None) -> None:
    """In a process of its own, whose compiler keeps what it made in `cache`."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "tests.bench.device", "--cold", *(["--dtype", dtype] if dtype else [])]
    said = subprocess.run(
        command,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
        timeout=max(1, bench.sheet.left_s),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("] ", 1)[-1] for line in said.stdout.splitlines() if "cold: " in line]
    bench.sheet.put(name, {"process_s": time.monotonic() - began_s, "said": "; ".join(lines)})


def _cold(bench: Bench) -> None:
    """The first picture, which nothing is ready for, and how long until the first fast one."""
    began_s = time.monotonic()
    runner = TorchRunner(bench.checkpoint, tuning=bench.best)
    runner.warm_up({runner.key(bench.scale.side, bench.scale.side, precise=False): 1})
    first = paint(runner, bench.scale.job(1))
    first_s = time.monotonic() - began_s
    runner.settle()
    built_s = time.monotonic() - began_s
    second = paint(runner, bench.scale.job(2))
    bench.sheet.put(
        "cold",
        {"first_image_s": first_s, "first_took_s": first.seconds, "built_s": built_s, "then_s": second.seconds},
    )
    runner.close()


def _here(device: torch.device, dtype: torch.dtype, model: str) -> dict[str, object]:
    import diffusers
    import transformers

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "card": card,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "dtype": str(dtype),
        "model": model,
    }


if __name__ == "__main__":
    main()
