"""Many pictures at once: how many a second, what a step of so many takes, and whether company changes a bit."""

import statistics
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

import torch

from tests.bench.arrivals import Policy, by_request, requests, simple, step_level
from tests.bench.device.bench import Bench
from tests.bench.device.ladder import STOCK_S, stock
from tests.bench.device.painting import apart, joined, step, step_s
from tests.unit.engine.jobs import unheard
from worker.engine import caps
from worker.engine.caps import Caps
from worker.engine.engine import Engine
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.solver import NAMES

_FIRST_BUILD_S: Final = 90
_CURVE_STEP_S: Final = 8
_CAPS_S: Final = 60


def load(bench: Bench) -> None:
    bench.section("stock", STOCK_S, partial(stock, bench))
    bench.section("best", _FIRST_BUILD_S, partial(_best, bench))
    for rows in (None, 2, 4, 8) if bench.cuda else (None, 4):
        bench.section(f"same bits, {_rows(rows)}, not compiled", 15, partial(_fixed, bench, rows))
    bench.section("caps", _CAPS_S, partial(_caps, bench))


def _best(bench: Bench) -> None:
    """What one runner does, so that its code is compiled once."""
    with bench.runner(bench.best) as runner:
        for slots in (1, 2, 4) if bench.cuda else (1,):
            bench.section(f"saturation, {slots} a step", 40, partial(_saturation, bench, runner, slots))
        for side in reversed(bench.scale.sides):
            bench.section(f"batch curve, {side}²", 2 * _CURVE_STEP_S, partial(_curve, bench, runner, side))
        bench.section("same bits, free rows", 15, partial(_sameness, bench, runner, "free rows"))
        bench.section("mixed", 40, partial(_mixed, bench, runner))


def _slots(runner: TorchRunner, side: int, slots: int) -> None:
    """From now on so many pictures of this size share a step, and graphs for all up to that are built."""
    runner.caps = Caps(runner.made_for, {side**2: slots})
    runner.warm_up({runner.key(side, side, precise=False): slots})


def _saturation(bench: Bench, runner: TorchRunner, slots: int) -> None:
    """As many requests at once as never leave the engine without work, each with a prompt of its own."""
    jobs = [bench.scale.job(k, images=1) for k in range(bench.scale.requests)]
    _slots(runner, bench.scale.side, slots)
    bench.settle(runner)
    engine: Engine[Any, Any] = Engine(runner)  # never closed: the runner would go with it
    engine.start()
    wait([engine.submit(one, unheard) for one in jobs[:2]])
    with _watched(bench) as busy:
        began_s, before = time.perf_counter(), engine.stats()
        futures = [engine.submit(one, unheard) for one in jobs]
        wait(futures)
        took_s, after = time.perf_counter() - began_s, engine.stats()
    rate = len(jobs) / took_s
    bench.sheet.put(
        f"saturation, {slots} a step",
        {
            "way": bench.way(runner, pictures=slots),
            "images_s": rate,
            **bench.times_stock(1 / rate),
            "lost": sum(one.exception() is not None for one in futures),
            **bench.peak_share(lambda work: work.picture(bench.done, bench.best), 1 / rate),
            **({"gpu_busy": statistics.mean(busy) / 100} if busy else {}),
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


def _curve(bench: Bench, runner: TorchRunner, side: int) -> None:
    """A step of so many guided pictures of this size."""
    figures: dict[str, object] = {}
    for pictures in bench.scale.pictures:
        if bench.cuda and bench.sheet.left_s < _CURVE_STEP_S:
            break
        image = bench.scale.job(0).image.resize((side, side))
        state = joined(runner, bench.scale.job(0, images=pictures, steps=30, strength=1.0, image=image))
        step(runner, [state])
        bench.settle(runner)
        one_ms = 1000 * step_s(runner, [state], 10 if bench.cuda else 2)
        way = bench.way(runner, side=side, pictures=pictures)
        figures |= {f"{pictures}_way": way, f"{pictures}_ms": one_ms, f"{pictures}_each_ms": one_ms / pictures}
        bench.sheet.put(f"batch curve, {side}²", {**figures, **bench.memory()})


def _mixed(bench: Bench, runner: TorchRunner) -> None:
    """Mixed steps and strengths, all there at once: step by step, by groups of equal requests, one at a time."""
    side, slots = min(512, bench.scale.side), 8 if bench.cuda else 2
    count = 2 * bench.scale.requests if bench.cuda else 2
    policies: dict[str, Policy] = {"step": step_level, "request": by_request(slots), "one": by_request(1)}
    _slots(runner, side, slots)
    bench.settle(runner)
    line = [(0.0, one) for one in requests(simple, count, side, seed=4)]
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


def _fixed(bench: Bench, rows: int | None) -> None:
    tuning = replace(bench.best, compile="off", stock_steps=False)
    with bench.runner(tuning, fixed_rows=rows) as runner:
        _sameness(bench, runner, f"{_rows(rows)}, not compiled")


def _rows(rows: int | None) -> str:
    return f"{rows} fixed rows" if rows else "free rows"


def _caps(bench: Bench) -> None:
    """As a worker measures them at its first start, without compiling, which takes its own time; and whether anything
    can be built after that."""
    with bench.runner(replace(bench.best, compile="off")) as runner:
        began_s = time.perf_counter()
        measured = caps.measure(runner, bench.scale.sides if bench.cuda else bench.scale.sides[:1])
        figures: dict[str, object] = {"seconds": time.perf_counter() - began_s, **bench.memory()}
        figures |= {f"{round(px**0.5)}²": most for px, most in measured.items()}
        bench.sheet.put("caps", figures)
        runner.forget()
        step(runner, [joined(runner, bench.scale.job(0))])
        bench.settle(runner)
        bench.sheet.put("caps", {**figures, "way": bench.way(runner)})


def _sameness(bench: Bench, runner: TorchRunner, name: str) -> None:
    """One request alone, again, and among others, bit by bit; and what a step costs."""
    ours = bench.scale.job(1, steps=10 if bench.cuda else 3)
    others = [
        bench.scale.job(10 + k, steps=ours.steps + 2 * k, guidance_scale=(5.0, 1.0)[k % 2], solver=NAMES[k])
        for k in range(3)
    ]
    alone, took_s = _through(bench, runner, [ours], ours)
    again, _ = _through(bench, runner, [ours], ours)
    first, _ = _through(bench, runner, [ours, *others], ours)
    last, _ = _through(bench, runner, [*others, ours], ours)
    one_s = step_s(runner, [joined(runner, bench.scale.job(3, steps=50))], 8 if bench.cuda else 1)
    bench.sheet.put(
        f"same bits, {name}",
        {
            "again": bool(torch.equal(alone, again)),
            "in_company": bool(torch.equal(alone, first) and torch.equal(alone, last)),
            "differs": max(apart(it, alone) for it in (first, last)),
            "step_ms": 1000 * one_s,
            "seconds": took_s,
        },
    )


def _through(bench: Bench, runner: TorchRunner, jobs: Sequence[Job], wanted: Job) -> tuple[torch.Tensor, float]:
    """The latents of one of these, which are stepped together, once all graphs are there; and the time it took."""
    _together(runner, jobs, wanted)
    bench.settle(runner)
    return _together(runner, jobs, wanted)


def _together(runner: TorchRunner, jobs: Sequence[Job], wanted: Job) -> tuple[torch.Tensor, float]:
    runner.checkpoint.device.finish()
    began_s = time.perf_counter()
    states = {one.id: joined(runner, one) for one in jobs}
    here = list(states.values())
    while here:
        step(runner, here)
        here = [state for state in here if state.step < state.steps]
    latents = states[wanted.id].latents.float().cpu()
    return latents, time.perf_counter() - began_s
