"""What is measured, the most important first. Each part puts its figures on the sheet as soon as it has them."""

import copy
import statistics
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch

from tests.bench.arrivals import Policy, by_request, requests, step_level
from tests.bench.device.model import Work
from tests.bench.device.painting import (
    Painted,
    Scale,
    apart,
    finish,
    joined,
    paint,
    step,
    step_s,
    stock_pipeline,
    stock_s,
)
from tests.bench.device.sheet import Sheet
from tests.unit.engine.jobs import unheard
from worker.engine.engine import Engine
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Checkpoint
from worker.model.solver import NAMES
from worker.model.tuning import Tuning, prefer_attention

PEAK = 790e12
"""Operations a second that an H200 was measured to do in half precision: what shares are given of."""


@dataclass(frozen=True, slots=True)
class Bench:
    sheet: Sheet
    scale: Scale
    checkpoint: Checkpoint
    work: Work
    best: Tuning
    """All that the device is good for."""

    @property
    def cuda(self) -> bool:
        return self.checkpoint.device.torch.type == "cuda"

    @property
    def done(self) -> int:
        return int(self.scale.steps * 0.85)

    @contextmanager
    def runner(self, tuning: Tuning, **options: Any) -> Generator[TorchRunner]:
        runner = TorchRunner(self.checkpoint, tuning=tuning, **options)
        try:
            yield runner
        finally:
            runner.close()

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


def _median_s(bench: Bench, call: Any) -> float:
    taken: list[float] = []
    for _ in range(13):
        finish(bench.checkpoint)
        began_s = time.perf_counter()
        call()
        finish(bench.checkpoint)
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken[3:])


def stock(bench: Bench) -> None:
    """diffusers as it comes."""
    pipeline = stock_pipeline(bench.checkpoint)
    pipeline.paint(bench.scale.job(0, steps=4))
    seconds = [stock_s(pipeline, bench.checkpoint, bench.scale.job(k)) for k in (1, 2)]
    bench.sheet.put("stock", {"seconds": min(seconds), "all": [round(it, 3) for it in seconds], **bench.memory()})


def reference(bench: Bench) -> Painted:
    """The same picture with the UNet and the autoencoder in float32, and nothing tuned."""
    unet, vae = (copy.deepcopy(it) for it in (bench.checkpoint.unet, bench.checkpoint.vae))
    exact = replace(bench.checkpoint, unet=unet.to(dtype=torch.float32), vae=vae.to(dtype=torch.float32))
    runner = TorchRunner(exact, tuning=Tuning(stock_steps=False))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    painted = paint(runner, bench.scale.job(1))
    bench.sheet.put("float32", {"seconds": painted.seconds, **bench.memory()})
    bench.checkpoint.device.free()
    return painted


def ladder(best: Tuning) -> dict[str, Tuning]:
    """One more each time; from `graphs` on the last is what the product does."""
    plain = Tuning(stock_steps=False)
    once = replace(plain, prompt_once=True)
    fused = replace(once, fused_qkv=True)
    last = replace(fused, channels_last=True)
    return {
        "precision": plain,
        "prompt_once": once,
        "fused_qkv": fused,
        "graphs": replace(fused, graphs=best.graphs),
        "blocks": replace(fused, graphs=best.graphs, compile="blocks", compile_backend=best.compile_backend),
        "blocks, channels_last": replace(
            last, graphs=best.graphs, compile="blocks", compile_backend=best.compile_backend
        ),
    }


def lossy(best: Tuning) -> dict[str, Tuning]:
    """What changes the picture, on top of all the rest."""
    return {
        "lossy, fp8": replace(best, lossy_fp8=True),
        "lossy, step cache 2": replace(best, lossy_step_cache=2),
        "lossy, step cache 3": replace(best, lossy_step_cache=3),
        "lossy, fp8 and step cache 3": replace(best, lossy_fp8=True, lossy_step_cache=3),
    }


def climb(bench: Bench, exact: Painted, rungs: Mapping[str, Tuning]) -> None:
    """Each: seconds of a picture and of a step, what building took, and how far from float32 the picture is."""
    attentions: Sequence[Any] = (("flash", "efficient", "math"), ("cudnn", "flash", "efficient", "math"))
    for name, tuning in rungs.items():
        both = bench.cuda and name.endswith("channels_last")
        for attention in attentions if both else attentions[-1:] if tuning.lossy else attentions[:1]:
            with bench.runner(tuning) as runner:
                if bench.cuda:
                    prefer_attention(attention)
                label = f"engine: {name}" + (", cudnn attention" if both and attention[0] == "cudnn" else "")
                bench.sheet.section(label, 25, partial(_rung, bench, runner, label, exact))


def _rung(bench: Bench, runner: TorchRunner, label: str, exact: Painted) -> None:
    began_s = time.perf_counter()
    state = joined(runner, bench.scale.job(0))
    step(runner, [state])
    runner.settle()
    built_s = time.perf_counter() - began_s
    paint(runner, bench.scale.job(2))
    painted = paint(runner, bench.scale.job(1))
    one_s = step_s(runner, [joined(runner, bench.scale.job(3, steps=50, strength=1.0))], 30 if bench.cuda else 1)
    bench.sheet.put(
        label,
        {
            "seconds": painted.seconds,
            "step_ms": 1000 * one_s,
            "peak_share": 2 * bench.work.unet_row / one_s / PEAK,
            "times_stock": bench.sheet.figures.get("stock", {}).get("seconds", float("nan")) / painted.seconds,
            "building_s": built_s,
            **painted.beside(exact),
            **bench.memory(),
        },
    )


def saturation(bench: Bench) -> None:
    """As many requests at once as never leave the engine without work, each with a prompt of its own."""
    for slots in (1, 2, 4)[: 3 if bench.cuda else 1]:
        px = slots * bench.scale.side**2
        with bench.runner(bench.best, step_px=px) as runner:
            jobs = [bench.scale.job(k, images=1) for k in range(bench.scale.requests)]
            key = runner.key(bench.scale.side, bench.scale.side, precise=False)
            runner.warm_up({key: slots})
            runner.settle()
            engine: Engine[Any, Any] = Engine(runner)
            engine.start()
            wait([engine.submit(one, unheard) for one in jobs[:2]])
            with _watched(bench) as busy:
                began_s, before = time.perf_counter(), engine.stats()
                futures = [engine.submit(one, unheard) for one in jobs]
                wait(futures)
                took_s, after = time.perf_counter() - began_s, engine.stats()
            engine.close(wait=True)
            rate = len(jobs) / took_s
            bench.sheet.put(
                f"saturation, {slots} a step",
                {
                    "images_s": rate,
                    "lost": sum(one.exception() is not None for one in futures),
                    "peak_share": rate * bench.work.picture(bench.done) / PEAK,
                    "gpu_busy": statistics.mean(busy) / 100 if busy else float("nan"),
                    "engine_busy": after.busy_since(before),
                    "host_share": after.host_share,
                    **bench.memory(),
                },
            )


@contextmanager
def _watched(bench: Bench) -> Generator[list[float]]:
    """How much of each fifth of a second the GPU had a kernel running, in per cent, as the driver says it."""
    seen, stop = list[float](), threading.Event()

    def look() -> None:
        while not stop.wait(0.2):
            try:
                seen.append(float(cast("Any", torch.cuda).utilization()))
            except Exception:  # noqa: BLE001 - without the driver's library there is no such figure
                return

    thread = threading.Thread(target=look, daemon=True)
    if bench.cuda:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        if bench.cuda:
            thread.join()


def curve(bench: Bench) -> None:
    """A step of so many guided pictures of each size."""
    with bench.runner(bench.best) as runner:
        for side in reversed(bench.scale.sides):
            figures: dict[str, float] = {}
            for pictures in bench.scale.pictures:
                if bench.sheet.left_s < 15:
                    break
                one = bench.scale.job(
                    0, images=pictures, steps=30, strength=1.0, image=bench.scale.job(0).image.resize((side, side))
                )
                state = joined(runner, one)
                step(runner, [state])
                runner.settle()
                figures[f"{pictures}_ms"] = 1000 * step_s(runner, [state], 10 if bench.cuda else 2)
            each = {f"{key[:-3]}_each_ms": value / int(key[:-3]) for key, value in figures.items()}
            bench.sheet.put(f"batch curve, {side}²", {**figures, **each, **bench.memory()})


def mixed(bench: Bench) -> None:
    """Mixed steps and strengths, all there at once: step by step, by groups of equal requests, one at a time."""
    side, slots = min(512, bench.scale.side), 8 if bench.cuda else 2
    count = 2 * bench.scale.requests if bench.cuda else 2
    policies: dict[str, Policy] = {"step": step_level, "request": by_request(slots), "one": by_request(1)}
    with bench.runner(bench.best, step_px=slots * side**2) as runner:
        runner.warm_up({runner.key(side, side, precise=False): slots})
        runner.settle()
        line = [(0.0, one) for one in requests(count, side, seed=4)]
        step_level(runner, line[: slots // 2])
        for name, policy in policies.items():
            began_s = time.perf_counter()
            latencies = sorted(policy(runner, line))
            took_s = time.perf_counter() - began_s
            figures = {
                "images_s": count / took_s,
                "p50_s": statistics.median(latencies),
                "p95_s": latencies[int(0.95 * count)],
            }
            bench.sheet.put(f"mixed {side}², {name} level", figures)


def sameness(bench: Bench) -> None:
    """One request alone, again, and among others, bit by bit; without and with fixed rows, and what those cost."""
    ours = bench.scale.job(1, steps=10 if bench.cuda else 3)
    others = [
        bench.scale.job(10 + k, steps=ours.steps + 2 * k, guidance_scale=(5.0, 1.0)[k % 2], solver=NAMES[k])
        for k in range(3)
    ]
    for rows in (None, 2, 4, 8) if bench.cuda else (4,):
        tuning = bench.best if rows is None else replace(bench.best, compile="off", stock_steps=False)
        with bench.runner(tuning, fixed_rows=rows) as runner:
            alone, took = _through(runner, [ours], ours)
            again, _ = _through(runner, [ours], ours)
            first, _ = _through(runner, [ours, *others], ours)
            last, _ = _through(runner, [*others, ours], ours)
            one_s = step_s(runner, [joined(runner, bench.scale.job(3, steps=50))], 8 if bench.cuda else 1)
            bench.sheet.put(
                f"same bits, {f'{rows} fixed rows' if rows else 'free rows'}",
                {
                    "again": bool(torch.equal(alone, again)),
                    "in_company": bool(torch.equal(alone, first) and torch.equal(alone, last)),
                    "differs": max(apart(it, alone) for it in (first, last)),
                    "step_ms": 1000 * one_s,
                    "seconds": took,
                },
            )


def _through(runner: TorchRunner, jobs: Sequence[Job], wanted: Job) -> tuple[torch.Tensor, float]:
    """The latents of one of these, which are stepped together, once all graphs are there; and the time it took."""
    _together(runner, jobs, wanted)
    runner.settle()
    return _together(runner, jobs, wanted)


def _together(runner: TorchRunner, jobs: Sequence[Job], wanted: Job) -> tuple[torch.Tensor, float]:
    finish(runner.checkpoint)
    began_s = time.perf_counter()
    states = {one.id: joined(runner, one) for one in jobs}
    here = list(states.values())
    while here:
        step(runner, here)
        here = [state for state in here if state.step < state.steps]
    latents = states[wanted.id].latents.float().cpu()
    return latents, time.perf_counter() - began_s


SECTIONS = {
    "saturation": (saturation, 60),
    "batch curve": (curve, 45),
    "sameness": (sameness, 45),
    "mixed": (mixed, 40),
}
