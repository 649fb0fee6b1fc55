"""Measures what a flood of one key does to another: A submits 10,000 requests, then B submits 10.

    .venv/bin/python tests/bench/fairness.py [--flood 10000] [--few 10] [--step 0.05]

The whole path is real (HTTP, Redis, one worker) but the model: `fake`, whose steps take as long as `--step` says. Times
are Redis' own, from B's submit to the claim of its first and last request and to the end of its last.
"""

import argparse
import asyncio
import json
import tempfile
import time
from itertools import repeat
from pathlib import Path

from load import post, run
from queueing import picture_body
from stand import Stand, stand, until

from shared.queue import commands
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from shared.queue.records import View

ENDPOINT = "/fal-ai/kolors/image-to-image"
CONNECTIONS = 32
STEPS = 8


def submit(port: int, key: str, times: int) -> tuple[list[str], float]:
    """The ids, and the seconds it took."""
    request = post(ENDPOINT, picture_body(num_inference_steps=STEPS, strength=1, sync_mode=True), key=f"{key}:secret")
    load = asyncio.run(run(port, repeat(request, times), connections=min(CONNECTIONS, times), keep_bodies=True))
    assert set(load.statuses) == {200}, load.statuses
    return [json.loads(body)["request_id"] for body in load.bodies], load.seconds


def views(made: Stand, ids: list[str]) -> list[View]:
    redis = open_sync(made.redis_url, timeout_s=10)
    found = [view for id in ids if (view := run_sync(redis, commands.view(id)))]
    redis.close()
    return found


def waits(made: Stand, ids: list[str]) -> tuple[float, float, float]:
    """Seconds from the first submit to the first claim, the last claim and the last end."""
    until(lambda: all(view.state.is_final for view in views(made, ids)), "they did not finish", 1800)
    found = views(made, ids)
    assert all(view.error is None for view in found), found[0].error
    began_ms = min(view.created_ms for view in found)
    started = [view.started_ms or 0 for view in found]
    ended = [view.finished_ms or 0 for view in found]
    return (min(started) - began_ms) / 1000, (max(started) - began_ms) / 1000, (max(ended) - began_ms) / 1000


def rate(made: Stand, seconds: float) -> float:
    """Requests that leave the queue in a second, while nobody submits."""
    redis = open_sync(made.redis_url, timeout_s=10)
    before = run_sync(redis, commands.fleet()).queued
    time.sleep(seconds)
    after = run_sync(redis, commands.fleet()).queued
    redis.close()
    return (before - after) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--flood", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--step", type=float, default=0.05, help="seconds a step of the fake model takes")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        stand(Path(folder)) as made,
        made.api(API_KEYS="a:secret,b:secret") as (_, port, _),
        made.worker(port, KOLORS_MODEL="fake", FAKE_STEP_S=str(arguments.step)),
    ):
        alone = waits(made, submit(port, "b", arguments.few)[0])
        _, seconds = submit(port, "a", arguments.flood)
        print(f"A: {arguments.flood} submitted in {seconds:.1f} s", flush=True)
        beside = waits(made, submit(port, "b", arguments.few)[0])
        served_s = rate(made, 5)
        print(f"the worker serves {served_s:.1f} requests a second: A's would last {arguments.flood / served_s:.0f} s")
        for name, (first, last, end) in (("alone", alone), ("beside the flood", beside)):
            print(f"B {name}: first claimed after {first:.2f} s, last after {last:.2f} s, all done after {end:.2f} s")


if __name__ == "__main__":
    main()
