"""The doorbell is what the pinned kombu would have written, and a real Celery worker answers it."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, cast

from celery import Celery  # pyright: ignore[reportMissingTypeStubs]

from shared.queue import commands, doorbell, keys
from tests.integration.queue.line import Line


def test_the_template_is_what_kombu_writes(redis_url: str, line: Line) -> None:
    app: Any = Celery(broker=redis_url, set_as_current=False)
    app.send_task(keys.TASK, queue=keys.DOORBELL, ignore_result=True)
    app.close()
    written = json.loads(str(line.redis.execute_command("LPOP", keys.DOORBELL)))
    ours = json.loads(doorbell.template())
    sent = written["headers"]["id"]
    assert written["headers"]["root_id"] == written["properties"]["correlation_id"] == sent
    for message in (written, ours):
        for name in ("id", "root_id", "origin"):
            del message["headers"][name]
        for name in ("correlation_id", "reply_to", "delivery_tag"):
            del message["properties"][name]
    assert ours == written


def test_the_ids_of_a_ring_look_like_kombus(line: Line) -> None:
    line.submit("a")
    ring = json.loads(str(line.redis.execute_command("LPOP", keys.DOORBELL)))
    id = ring["headers"]["id"]
    assert len(id) == len("957a812d-2722-462d-b081-7ecb0138addd")
    assert {ring["headers"]["root_id"], ring["properties"]["correlation_id"], ring["properties"]["delivery_tag"]} == {
        id
    }


@contextmanager
def worker(url: str) -> Generator[None]:
    """A worker process, from when it consumes until it has drained."""
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.queue.answering", "worker"]
    options = ["--pool", "threads", "--concurrency", "4", "-Q", keys.DOORBELL, "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    process = subprocess.Popen(
        [*command, *options, *quiet],
        env=os.environ | {"REDIS_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = cast("IO[str]", process.stderr)
    said: list[str] = []
    try:
        for text in errors:
            said.append(text)
            if "ready." in text:
                break
        else:
            raise AssertionError("the worker did not start:\n" + "".join(said))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[1]
        assert process.returncode == 0, "".join(said) + rest


def until_final(line: Line, id: str) -> None:
    """Follows the request's history to its end."""
    after = "0"
    while not line.view(id).state.is_final:
        news = line.redis.execute_command("XREAD", "BLOCK", 8000, "STREAMS", keys.events(id), after)
        assert news, f"{id} is {line.view(id)}"
        after = line.events(id)[-1].id


def test_a_real_worker_answers_our_rings(redis_url: str, line: Line) -> None:
    with worker(redis_url):
        for number in range(100):
            line.submit(f"r{number:02}")
        for number in range(100):
            until_final(line, f"r{number:02}")
            assert line.view(f"r{number:02}").attempts == 1
        line.submit("later")
        until_final(line, "later")


def test_lost_and_doubled_rings_do_no_harm(redis_url: str, line: Line) -> None:
    chance = random.Random(1)
    for number in range(60):
        line.submit(f"r{number:02}")
    rings = cast("list[str]", line.redis.execute_command("LRANGE", keys.DOORBELL, 0, -1))
    line.lose_rings()
    for ring in chance.sample(rings, 30) + chance.sample(rings, 12):
        line.redis.execute_command("LPUSH", keys.DOORBELL, ring)
    with worker(redis_url):
        line.rescue()
        for number in range(60):
            until_final(line, f"r{number:02}")
    assert {line.view(f"r{number:02}").attempts for number in range(60)} == {1}
    assert line.do(commands.fleet()).queued == 0
