"""One picture alone, by the stock pipeline and by this engine with one more of what it does each time; and beyond that,
by what it does only when it is asked.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch.backends import cudnn

from tests.bench.device import cold
from tests.bench.device.bench import PEAK, Bench
from tests.bench.device.painting import (
    Painted,
    Pixels,
    joined,
    levels_apart,
    paint,
    paint_stock,
    step,
    step_s,
    stock_pipeline,
)
from tests.bench.device.recording import recorded, refused
from worker.model.tuning import Attention, Tuning, prefer_attention, preferred_attention, set_flags

STOCK_S: Final = 25
_REFERENCE_S: Final = 30
_COLD_S: Final = {"cold start, empty cache": 110, "cold start, full cache": 60}
_TORCHS_ORDER: Final[tuple[Attention, ...]] = ("flash", "efficient", "math", "cudnn")
"""Where the engine prefers none."""


@dataclass(frozen=True, slots=True)
class Rung:
    """`needs_s`: about, where the compiler's cache has what the rungs before put there. `attention`: instead of the
    order that the engine prefers. `timed`: convolutions' kernels are chosen by timing them."""

    name: str
    needs_s: float
    tuning: Tuning
    attention: Sequence[Attention] = ()
    timed: bool = False


def ladder(bench: Bench) -> None:
    """All on the order of attention that the engine prefers, which is a rung of its own at both ends: the stock
    pipeline's with the engine's switches, and the graphs' without cuDNN's."""
    bench.section("recording", 5, partial(recorded, bench))
    bench.section("work", 10, partial(work, bench))
    bench.section("ceilings", 5, partial(ceilings, bench))
    shown = bench.section("stock", STOCK_S, partial(stock, bench))
    bench.section("stock, engine's switches", STOCK_S, partial(_switched, bench))
    exact = bench.section("float32", _REFERENCE_S, partial(reference, bench))
    if shown is not None and exact is not None:
        bench.sheet.put("stock", {**bench.sheet.figures["stock"], **levels_apart(shown, exact.pixels)})
    climb(bench, exact, rungs(bench.best))
    if bench.cuda:
        with tempfile.TemporaryDirectory() as cache:
            for name, needs_s in _COLD_S.items():
                bench.section(name, needs_s, partial(cold.start, bench, name, cache))
    if bench.best.compile != "off":
        layout = Rung(f"{bench.best.compile}, contiguous", 60, replace(bench.best, channels_last=False))
        climb(bench, exact, [layout])
    bench.section("recording, after one that failed", 5, partial(refused, bench))


def beyond(bench: Bench) -> None:
    """What changes the picture, and the UNet compiled as a whole. The best to hold them against is the ladder's."""
    bench.section("stock", STOCK_S, partial(stock, bench))
    exact = bench.section("float32", _REFERENCE_S, partial(reference, bench))
    climb(bench, exact, lossy(bench.best))
    if bench.best.compile != "off":
        searched = replace(bench.best, compile_mode="max-autotune-no-cudagraphs")
        climb(bench, exact, [Rung("whole", 120, replace(bench.best, compile="whole")), Rung("searched", 150, searched)])


def rungs(best: Tuning) -> list[Rung]:
    """One more each time, up to the best, which is what the product does; and attention apart."""
    plain = Tuning(stock_steps=False)
    once = replace(plain, prompt_once=True)
    fused = replace(once, fused_qkv=True)
    graphs = replace(fused, graphs=best.graphs)
    return [
        Rung("precision", 15, plain),
        Rung("prompt_once", 15, once),
        Rung("fused_qkv", 15, fused),
        Rung("graphs", 15, graphs),
        Rung("graphs, flash attention", 15, graphs, attention=("flash", "efficient", "math")),
        Rung("graphs, timed convolutions", 20, graphs, timed=True),
        Rung("best", 90, best),
        Rung("best, without graphs", 20, replace(best, graphs=False)),
    ]


def lossy(best: Tuning) -> list[Rung]:
    """What changes the picture, on top of all the rest."""
    return [
        Rung("lossy, step cache 2", 90, replace(best, lossy_step_cache=2)),
        Rung("lossy, step cache 3", 45, replace(best, lossy_step_cache=3)),
        Rung("lossy, fp8", 90, replace(best, lossy_fp8=True)),
        Rung("lossy, fp8 and step cache 3", 45, replace(best, lossy_fp8=True, lossy_step_cache=3)),
    ]


def climb(bench: Bench, exact: Painted | None, rungs: Sequence[Rung]) -> None:
    """Each: how the UNet was called, seconds of a picture and of a step, what building took, and how far from float32
    the picture is."""
    for rung in rungs:
        bench.section(f"engine: {rung.name}", rung.needs_s, partial(_climb, bench, exact, rung))


def _climb(bench: Bench, exact: Painted | None, rung: Rung) -> None:
    preferring = _preferring(rung.attention) if rung.attention else nullcontext()
    with bench.runner(rung.tuning) as runner, preferring, _timing(rung.timed):
        began_s = time.perf_counter()
        state = joined(runner, bench.scale.job(0))
        step(runner, [state])
        bench.settle(runner)
        built_s = time.perf_counter() - began_s
        paint(runner, bench.scale.job(2))
        painted = paint(runner, bench.scale.job(1))
        one_s = step_s(runner, [joined(runner, bench.scale.job(3, steps=50, strength=1.0))], 30 if bench.cuda else 1)
        bench.sheet.put(
            f"engine: {rung.name}",
            {
                "asked": rung.tuning.ways,
                "way": bench.way(runner),
                **bench.kernels(),
                "seconds": painted.seconds,
                "step_ms": 1000 * one_s,
                **({} if rung.tuning.lossy else bench.peak_share(lambda work: 2 * work.row(rung.tuning), one_s)),
                **bench.times_stock(painted.seconds),
                "building_s": built_s,
                **(painted.beside(exact) if exact else {}),
                **bench.memory(),
            },
        )


@contextmanager
def _preferring(order: Sequence[Attention]) -> Generator[None]:
    before = preferred_attention() or _TORCHS_ORDER
    prefer_attention(order)
    try:
        yield
    finally:
        prefer_attention(before)


@contextmanager
def _timing(timed: bool) -> Generator[None]:
    """Not by torch's own `flags`, which also sets all that one does not name."""
    before = cudnn.benchmark
    cudnn.benchmark = timed
    try:
        yield
    finally:
        cudnn.benchmark = before


def work(bench: Bench) -> None:
    """Of a picture: what the best does, what the stock pipeline does, and the least seconds the first can take."""
    if bench.work is None:
        return
    ours, stocks = (bench.work.picture(bench.done, tuning) for tuning in (bench.best, Tuning()))
    bench.sheet.put("work", {"tflop": ours / 1e12, "stock_tflop": stocks / 1e12, "floor_s": ours / PEAK})


def ceilings(bench: Bench) -> None:
    """A large product and a large copy, on random numbers."""
    side = 8192 if bench.cuda else 256
    device, dtype = bench.checkpoint.device.torch, torch.bfloat16
    left, right = (torch.randn((side, side), device=device, dtype=dtype) for _ in range(2))
    product_s = _median_s(bench, lambda: left @ right)
    copy_s = _median_s(bench, lambda: left.clone())
    bench.sheet.put(
        "ceilings",
        {"product_tflop_s": 2 * side**3 / product_s / 1e12, "copy_tb_s": 2 * left.nbytes / copy_s / 1e12},
    )


def _median_s(bench: Bench, call: Callable[[], object]) -> float:
    taken: list[float] = []
    for _ in range(13):
        bench.checkpoint.device.finish()
        began_s = time.perf_counter()
        call()
        bench.checkpoint.device.finish()
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken[3:])


def stock(bench: Bench, name: str = "stock") -> Pixels:
    """diffusers as it comes: before any runner of this process has set torch's switches. Its picture of the job that
    all ways are compared by."""
    pipeline = stock_pipeline(bench.checkpoint)
    pipeline.paint(bench.scale.job(0, steps=4))
    painted = [paint_stock(pipeline, bench.checkpoint, bench.scale.job(k)) for k in (1, 2)]
    seconds = [took_s for took_s, _ in painted]
    bench.sheet.put(
        name,
        {
            **bench.kernels(),
            "seconds": min(seconds),
            "all": [round(it, 3) for it in seconds],
            **bench.memory(),
        },
    )
    return painted[0][1]


def _switched(bench: Bench) -> None:
    """What is left between this and the first rung is the engine."""
    set_flags(bench.checkpoint.device.torch, bench.checkpoint.dtype)
    stock(bench, "stock, engine's switches")


def reference(bench: Bench) -> Painted:
    """The same picture with the UNet and the autoencoder in float32, and nothing tuned."""
    unet, vae = (copy.deepcopy(it).to(dtype=torch.float32) for it in (bench.checkpoint.unet, bench.checkpoint.vae))
    wide = replace(bench, checkpoint=replace(bench.checkpoint, unet=unet, vae=vae))
    with wide.runner(Tuning(stock_steps=False)) as runner:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        painted = paint(runner, bench.scale.job(1))
    bench.sheet.put("float32", {"seconds": painted.seconds, **bench.memory()})
    return painted
