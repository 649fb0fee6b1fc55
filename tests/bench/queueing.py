"""Measures the queue: HTTP, Redis and Celery with the `fake` runner, so that nothing waits for a picture.

    .venv/bin/python tests/bench/queueing.py [--json FILE]

Every ratio is taken between two things that were measured in turns in this one run.
"""

import argparse
import asyncio
import base64
import io
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from pathlib import Path

from load import Load, get, post, quantile, run
from PIL import Image
from stand import Stand, stand, until

from shared.queue import commands
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from shared.queue.records import View

APP = "/fal-ai/kolors"
ENDPOINT = f"{APP}/image-to-image"
ROUNDS = 5
CONNECTIONS = 32


@dataclass(slots=True)
class Report:
    """Rows of (what, figure, goal), and the raw numbers behind them."""

    rows: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    raw: dict[str, object] = field(default_factory=dict[str, object])

    def add(self, what: str, figure: str, goal: str = "", **raw: object) -> None:
        self.rows.append((what, figure, goal))
        self.raw[what] = raw
        print(f"{what}: {figure}" + (f"   (goal {goal})" if goal else ""), flush=True)

    def table(self) -> str:
        lines = ["| what | measured | goal |", "|---|---|---|"]
        return "\n".join(lines + [f"| {a} | {b} | {c} |" for a, b, c in self.rows])


def picture_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def picture_body(**arguments: object) -> bytes:
    """A small but whole request: 64×64, its picture inline unless another is named."""
    url = "data:image/png;base64," + base64.b64encode(picture_bytes()).decode()
    return json.dumps({"prompt": "a bench", "image_url": url, "num_inference_steps": 4} | arguments).encode()


LINK_BODY = json.dumps({"prompt": "a bench", "image_url": "https://example.com/a.png"}).encode()


async def in_turns(a: tuple[int, bytes], b: tuple[int, bytes], count: int) -> tuple[list[Load], list[Load]]:
    """`ROUNDS` rounds of each, one after the other; the first round of each warms up and is not counted."""
    loads: tuple[list[Load], list[Load]] = ([], [])
    for turn in range(ROUNDS + 1):
        for (port, request), kept in zip((a, b), loads, strict=True):
            load = await run(port, repeat(request, count), connections=CONNECTIONS)
            if turn:
                kept.append(load)
    return loads


def compare(report: Report, what: str, ours: list[Load], empty: list[Load]) -> None:
    failed = sum(n for load in ours for status, n in load.statuses.items() if status >= 300)
    assert not failed, f"{what}: {failed} requests failed"
    rate, yardstick = (statistics.median(load.per_second for load in loads) for loads in (ours, empty))
    figure = f"{rate:,.0f}/s, {rate / yardstick:.0%} of an empty handler ({yardstick:,.0f}/s)"
    report.add(what, figure, "≥ 50 %", ours=[load.per_second for load in ours], empty=[e.per_second for e in empty])


def measure_http(report: Report, made: Stand) -> None:
    """Submits and polls of one API process beside an empty handler of the same server."""
    with made.api() as (child, port, started_s), made.empty() as empty_port:
        report.add("API: start to first answer", f"{started_s:.2f} s", seconds=started_s)
        report.add("API: memory, idle", f"{child.memory_mib:.0f} MiB", mib=child.memory_mib)
        first = asyncio.run(run(port, iter([post(ENDPOINT, LINK_BODY)]), connections=1, keep_bodies=True))
        request = json.loads(first.bodies[0])["request_id"]
        poll = get(f"{APP}/requests/{request}/status?logs=false")
        ours, empty = asyncio.run(in_turns((port, poll), (empty_port, get("/empty")), 3000))
        compare(report, "status polls", ours, empty)
        ours, empty = asyncio.run(
            in_turns((port, post(ENDPOINT, LINK_BODY)), (empty_port, post("/empty", b"{}")), 2000)
        )
        compare(report, "submits", ours, empty)


def finished(made: Stand, requests: list[str], timeout_s: float = 120) -> list[View]:
    """Their views once nothing is queued or running any more."""
    redis = open_sync(made.redis_url, timeout_s=10)

    def idle() -> bool:
        fleet = run_sync(redis, commands.fleet())
        return fleet.queued + fleet.running == 0

    until(idle, "requests did not finish", timeout_s, every_s=0.1)  # who asks all the time, slows down what is measured
    views = [view for request in requests if (view := run_sync(redis, commands.view(request)))]
    redis.close()
    failed = [view.error for view in views if view.error or not view.state.is_final]
    assert len(views) == len(requests)
    assert not failed, f"{len(failed)} of {len(views)} failed: {failed[0]}"
    return views


def submitted(load: Load) -> list[str]:
    return [json.loads(body)["request_id"] for body in load.bodies]


def quantiles(values_ms: list[float]) -> str:
    return f"p50 {quantile(values_ms, 0.5):.0f} ms, p99 {quantile(values_ms, 0.99):.0f} ms"


def measure_pickup(report: Report, made: Stand, port: int, count: int = 300) -> None:
    """Submit to claim on an idle system: each request is submitted only after the last one ended."""
    waits: list[float] = []
    for _ in range(count):
        load = asyncio.run(run(port, iter([post(ENDPOINT, picture_body())]), connections=1, keep_bodies=True))
        (view,) = finished(made, submitted(load))
        assert view.started_ms is not None
        waits.append(view.started_ms - view.created_ms)
    report.add("pickup, idle: submit → claimed", quantiles(waits), "p50 ≤ 5 ms, p99 ≤ 20 ms", waits_ms=waits)


def measure_saturated(report: Report, made: Stand, port: int, count: int = 400) -> None:
    """A worker with one slot and no read-ahead: from the end of one request to the claim of the next."""
    requests = [post(ENDPOINT, picture_body(seed=k)) for k in range(count)]
    load = asyncio.run(run(port, iter(requests), connections=CONNECTIONS, keep_bodies=True))
    views = sorted(finished(made, submitted(load)), key=lambda view: view.started_ms or 0)
    gaps: list[float] = []
    for last, following in pairwise(views):
        assert last.finished_ms is not None
        assert following.started_ms is not None
        if following.created_ms < last.finished_ms:
            gaps.append(max(0, following.started_ms - last.finished_ms))
    report.add("pickup, saturated: slot free → next claim", quantiles(gaps), "p99 ≤ 20 ms", gaps_ms=gaps)


def uploaded(port: int) -> str:
    """The link of a picture that was uploaded as fal's clients do it."""
    call = json.dumps({"file_name": "a.png", "content_type": "image/png"}).encode()
    headers = {"Authorization": "Key bench:secret", "Content-Type": "application/json"}
    begin = urllib.request.Request(f"http://127.0.0.1:{port}/storage/upload/initiate", call, headers)
    with urllib.request.urlopen(begin) as answer:
        links: dict[str, str] = json.load(answer)
    put = urllib.request.Request(links["upload_url"], picture_bytes(), {"Content-Type": "image/png"}, method="PUT")
    with urllib.request.urlopen(put):
        return links["file_url"]


def measure_throughput(
    report: Report, made: Stand, port: int, what: str, count: int = 2000, **arguments: object
) -> None:
    """Submit over HTTP to finished, client, API, Valkey and worker all on the same cores."""
    arguments["image_url"] = uploaded(port)
    rates: list[float] = []
    for _ in range(4):
        requests: Iterator[bytes] = iter([post(ENDPOINT, picture_body(seed=k, **arguments)) for k in range(count)])
        load = asyncio.run(run(port, requests, connections=CONNECTIONS, keep_bodies=True))
        assert set(load.statuses) == {200}, load.statuses
        views = finished(made, submitted(load))
        span_ms = max(view.finished_ms or 0 for view in views) - min(view.created_ms for view in views)
        rates.append(len(views) * 1000 / span_ms)
    figure = f"{statistics.median(rates[1:]):.0f}/s"
    report.add(f"requests end to end, fake runner, {what}", figure, "≥ 400/s", rates=rates)


def measure_worker(report: Report, made: Stand) -> None:
    with made.api() as (_, port, _):
        with made.worker(port, KOLORS_MODEL="fake", CONCURRENCY="1", READ_AHEAD="0"):
            measure_saturated(report, made, port)
        with made.worker(port, KOLORS_MODEL="fake") as (child, seconds):
            report.add("worker (fake): start to ready", f"{seconds:.2f} s", seconds=seconds)
            report.add("worker (fake): memory, idle", f"{child.memory_mib:.0f} MiB", mib=child.memory_mib)
            measure_pickup(report, made, port)
            measure_throughput(report, made, port, "picture in the answer", sync_mode=True)
            measure_throughput(report, made, port, "picture as a file, fsynced")
        with made.worker(port, KOLORS_MODEL="tiny") as (child, seconds):
            report.add("worker (tiny): start to ready", f"{seconds:.2f} s", seconds=seconds)
            report.add("worker (tiny): memory, idle", f"{child.memory_mib:.0f} MiB", mib=child.memory_mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the raw numbers here")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as made:
        redis = next(child for child in made.children if child.name == "redis")
        report.add("Valkey: memory, idle", f"{redis.memory_mib:.0f} MiB", mib=redis.memory_mib)
        measure_http(report, made)
    with tempfile.TemporaryDirectory() as folder, stand(Path(folder)) as made:
        measure_worker(report, made)
        with made.child("courier", [sys.executable, "-m", "worker.courier"]) as child:
            until(lambda: (made.root / "run" / "courier.pid").exists(), "the courier did not start")
            report.add("courier: memory, idle", f"{child.memory_mib:.0f} MiB", mib=child.memory_mib)
    print("\n" + report.table())
    if arguments.json:
        arguments.json.write_text(json.dumps(report.raw, indent=1))


if __name__ == "__main__":
    main()
