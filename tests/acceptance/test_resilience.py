"""Processes that die while they work, and systems that share one queue: what was acknowledged is done, once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.harness.caller import ENDPOINT, Caller, arguments, long_arguments, only
from tests.acceptance.harness.pictures import bytes_at
from tests.acceptance.harness.receiver import Receiver
from tests.acceptance.harness.server import Server, start, stop
from tests.acceptance.harness.waiting import Stopwatch, until

WORKERS = ("worker-1", "worker-2")


@pytest.fixture
def pair(tls_server: Server) -> Server:
    """The system that has two workers, once both have started."""
    until(lambda: all(alive(tls_server, name) for name in WORKERS), within_s=60, what="both workers run")
    return tls_server


@pytest.fixture
def pair_caller(pair: Server) -> Iterator[Caller]:
    caller = Caller(pair.url, ca_file=pair.ca_file)
    yield caller
    caller.close()


def alive(server: Server, name: str) -> bool:
    try:
        return server.cpu_s(name) > 0
    except (FileNotFoundError, ProcessLookupError):
        return False


def who_works(server: Server) -> str:
    """The worker that uses the processor, by far."""
    before = {name: server.cpu_s(name) for name in WORKERS}

    def leader() -> str | None:
        used = {name: server.cpu_s(name) - before[name] for name in WORKERS}
        first, second = sorted(WORKERS, key=lambda name: used[name], reverse=True)
        return first if used[first] > 0.5 + 3 * used[second] else None

    return until(leader, within_s=20, what="one worker is at work")


def step_of(caller: Caller, id: str) -> int:
    """The last step done, of a running request; 0 of any other."""
    progress: dict[str, int] = caller.status(id).json().get("progress", {"step": 0})
    return progress["step"]


def is_behind(caller: Caller, id: str, reached: int) -> bool:
    """Whether it runs, and has done fewer steps than it once had."""
    body = caller.status(id).json()
    return body["status"] == "IN_PROGRESS" and body["progress"]["step"] < reached


def test_a_killed_workers_request_runs_on_the_other_and_completes_once(
    pair: Server, pair_caller: Caller, receiver: Receiver
) -> None:
    hook = receiver.hook()
    asked = long_arguments(image_size="square", num_inference_steps=100)
    id = pair_caller.submit(asked, params={"fal_webhook": hook})
    pair_caller.await_status(id, "IN_PROGRESS")
    victim = who_works(pair)
    until(lambda: step_of(pair_caller, id) >= 10, within_s=20, what="ten steps are done")

    killed = pair.kill(victim)
    watch = Stopwatch()
    until(lambda: is_behind(pair_caller, id, 10), within_s=13, what="the request runs again, from the start")

    assert watch.seconds < 13
    result = pair_caller.finish(id, within_s=90)
    assert result.status_code == 200
    assert pair_caller.http.get(result.json()["images"][0]["url"]).content.startswith(b"\x89PNG")
    until(lambda: alive(pair, victim) and pair.pid(victim) != killed, within_s=40, what="the worker is started again")
    assert json.loads(only(receiver.await_posts(hook)).body)["status"] == "OK"
    pair_caller.complete(arguments())
    assert len(receiver.posts(hook)) == 1


def submitted(caller: Caller) -> str | None:
    """The id of an acknowledged request; None where the server is not able to take it now, and says so."""
    try:
        answer = caller.call("POST", f"/{ENDPOINT}", json=arguments())
    except httpx.TransportError:
        return None
    assert answer.status_code in {200, 503}, answer.text
    if answer.status_code == 503:
        assert answer.json()["detail"]
        return None
    return str(answer.json()["request_id"])


def completed(caller: Caller, id: str) -> dict[str, Any] | None:
    answer = caller.result(id)
    assert answer.status_code in {200, 400, 503}, answer.text
    return answer.json() if answer.status_code == 200 else None


def test_no_acknowledged_request_is_lost_when_redis_is_killed(pair: Server, pair_caller: Caller) -> None:
    acknowledged: list[str] = []

    def keep_submitting(_turn: int) -> None:
        for _ in range(15):
            id = until(lambda: submitted(pair_caller), within_s=60, what="a submission is acknowledged", pause_s=0.1)
            acknowledged.append(id)

    with ThreadPoolExecutor(3) as pool:
        turns = [pool.submit(keep_submitting, turn) for turn in range(3)]
        until(lambda: len(acknowledged) >= 10, within_s=20, what="some requests are acknowledged", pause_s=0.001)
        killed = pair.kill("redis")
        for turn in turns:
            turn.result()

    assert pair.pid("redis") != killed
    assert len(set(acknowledged)) == 45
    for id in acknowledged:
        output = until(
            lambda id=id: completed(pair_caller, id), within_s=90, what=f"request {id} is completed", pause_s=0.05
        )
        assert output["seed"] == 7


def test_results_outlive_a_restart_of_everything(tmp_path: Path) -> None:
    first = start(tmp_path, kolors_model="fake")
    caller = Caller(first.url)
    id = caller.submit(arguments())
    output = caller.finish(id).json()
    caller.close()
    picture = bytes_at(output["images"][0]["url"])
    stop(first)

    second = start(tmp_path, kolors_model="fake")
    caller = Caller(second.url)
    assert caller.result(id).json() == output
    assert caller.http.get(httpx.URL(output["images"][0]["url"]).raw_path.decode()).content == picture
    caller.close()
    stop(second)


def test_two_systems_share_a_load_on_one_s3_store(tmp_path: Path, redis_url: str, s3_env: dict[str, str]) -> None:
    """Each has a data directory, an API and a worker of its own; they have Redis and the bucket in common.

    A third one that would keep its files elsewhere is turned away.
    """
    shared = {name.lower(): value for name, value in s3_env.items()} | {"redis_url": redis_url, "kolors_model": "fake"}
    systems = [start(tmp_path / name, **shared) for name in ("one", "other")]
    callers = [Caller(system.url) for system in systems]

    def submit(k: int) -> str:
        return callers[k % 2].submit(arguments(seed=k))

    def ask_the_other(k: int) -> httpx.Response:
        return callers[(k + 1) % 2].finish(ids[k])

    try:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(submit, range(40)))
            answers = list(pool.map(ask_the_other, range(40)))

        assert [answer.json()["seed"] for answer in answers] == list(range(40))
        assert bytes_at(answers[0].json()["images"][0]["url"]).startswith(b"\x89PNG")
        logs = [(system.data_dir / "log" / "worker.log").read_text() for system in systems]
        done = [sum(id in log for id in ids) for log in logs]
        assert min(done) > 0, done
        with pytest.raises(RuntimeError, match="STORAGE_URL"):  # files of its own, where the others share theirs
            stop(start(tmp_path / "stranger", redis_url=redis_url, kolors_model="fake"))
    finally:
        for caller in callers:
            caller.close()
        for system in systems:
            stop(system)
