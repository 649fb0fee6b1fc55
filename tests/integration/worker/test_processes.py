"""Real worker processes: what a kill, a stop, a drain or a wrong setting does to the requests they hold."""

import ctypes
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shared.queue import commands, keys
from shared.queue.states import State
from tests.conftest import Valkey
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import Floor

SHORT_LEASES = {"LEASE_MS": "2000", "FENCE_MS": "1500", "RENEW_MS": "400"}
SLOW = {"FAKE_STEP_S": "0.05"}
LONG: dict[str, Any] = {"num_inference_steps": 100, "strength": 1.0}
"""Five seconds of slow steps."""


def test_a_request_through_a_real_worker(floor: Floor, spawn: Spawn) -> None:
    worker = spawn()
    pid_file = floor.folder / "run" / "worker.pid"
    assert int(pid_file.read_text()) == worker.process.pid
    assert floor.output(floor.submit())["seed"] == 7
    libraries = Path(f"/proc/{worker.process.pid}/maps").read_text()
    assert "torch" not in libraries, "KOLORS_MODEL=fake needs no torch"
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert not pid_file.exists()


def test_requests_that_came_before_the_worker_are_served(floor: Floor, spawn: Spawn) -> None:
    ids = [floor.submit() for _ in range(100)]
    spawn()
    assert all(floor.finished(id).status == 200 for id in ids)
    assert all(floor.view(id).attempts == 1 for id in ids)


def test_lost_doorbells_are_rung_again(floor: Floor, spawn: Spawn) -> None:
    ids = [floor.submit() for _ in range(20)]
    floor.redis.execute_command("DEL", keys.DOORBELL)
    spawn()
    assert all(floor.finished(id).status == 200 for id in ids)


def test_what_a_killed_worker_held_is_finished_by_another(floor: Floor, spawn: Spawn) -> None:
    first = spawn(WORKER_NAME="first", **SLOW, **SHORT_LEASES)
    ids = [floor.submit(**LONG) for _ in range(2)]
    for id in ids:
        floor.running(id)
    first.signal(signal.SIGKILL)
    first.exit_status()
    spawn(WORKER_NAME="second", **SHORT_LEASES)
    assert all(floor.output(id)["seed"] == 7 for id in ids)
    assert [floor.view(id).attempts for id in ids] == [2, 2]


def test_a_frozen_worker_may_not_finish_what_it_lost(floor: Floor, spawn: Spawn) -> None:
    frozen = spawn(WORKER_NAME="frozen", **SLOW, **SHORT_LEASES)
    id = floor.submit(**LONG)
    held = floor.running(id)
    frozen.signal(signal.SIGSTOP)
    spawn(WORKER_NAME="second", **SHORT_LEASES)
    output = floor.output(id)
    frozen.signal(signal.SIGCONT)
    frozen.said("lease lost")
    assert floor.output(id) == output
    assert held.claim not in output["images"][0]["url"]
    frozen.signal(signal.SIGTERM)
    assert frozen.exit_status() == 0


def test_a_request_that_kills_its_workers_is_given_up_and_none_with_it(floor: Floor, spawn: Spawn) -> None:
    id, *others = [floor.submit(tenant=tenant, **LONG) for tenant in ("ann", *["bob"] * 5)]
    for number in range(3):
        worker = spawn(WORKER_NAME=f"w{number}", **SLOW, **SHORT_LEASES)
        floor.until(id, lambda view, attempts=number + 1: view.attempts == attempts and view.state is State.RUNNING)
        for other in others if number == 0 else []:
            floor.running(other)
        worker.signal(signal.SIGKILL)
        worker.exit_status()
    spawn(WORKER_NAME="survivor", **SHORT_LEASES)
    result = floor.finished(id)
    assert (result.state, result.status, result.error_type) == (State.FAILED, 503, "runner_disconnected")
    assert [floor.finished(other).status for other in others] == [200] * 5
    assert 1 <= min(map(floor.crashes, others)) <= max(map(floor.crashes, others)) <= 2


def test_sigterm_lets_finish_what_fits(floor: Floor, spawn: Spawn) -> None:
    worker = spawn(**SLOW, CONCURRENCY="1")
    first, second = floor.submit(num_inference_steps=20), floor.submit()
    floor.running(first)
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert floor.view(first).state is State.SUCCEEDED
    assert floor.view(second).state is State.QUEUED


def test_sigterm_gives_back_what_does_not_fit(floor: Floor, spawn: Spawn) -> None:
    worker = spawn(**SLOW, GRACE_S="0.2")
    ids = [floor.submit(**LONG) for _ in range(3)]
    for id in ids:
        floor.running(id)
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    views = [floor.view(id) for id in ids]
    assert [(view.state, view.attempts) for view in views] == [(State.QUEUED, 0)] * 3
    spawn()
    assert all(floor.output(id)["seed"] == 7 for id in ids)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_redis_restarts_under_a_running_request(floor: Floor, spawn: Spawn, valkey: Valkey, how: str) -> None:
    worker = spawn(**SLOW)
    id = floor.submit(**LONG)
    floor.running(id)
    getattr(valkey, how)()
    valkey.start()
    assert floor.output(id)["seed"] == 7
    assert floor.view(id).attempts == 1
    assert floor.output(floor.submit())["seed"] == 7, "it hears doorbells again"
    assert worker.process.poll() is None


def test_no_request_pays_for_an_outage_of_redis(floor: Floor, spawn: Spawn, valkey: Valkey) -> None:
    """It is longer than a lease, and the requests may not be tried again: a crash would end them."""
    lease_s = 4
    spawn(**SLOW, LEASE_MS=str(lease_s * 1000), FENCE_MS="2000", RENEW_MS="500")
    ids = [floor.submit(retry=False, **LONG) for _ in range(3)]
    for id in ids:
        floor.running(id)
    valkey.stop()
    threading.Event().wait(lease_s + 1)
    valkey.start()
    assert [(floor.finished(id).status, floor.crashes(id), floor.view(id).attempts) for id in ids] == [(200, 0, 1)] * 3


def test_a_worker_waits_for_redis(floor: Floor, spawn: Spawn, valkey: Valkey) -> None:
    valkey.stop()
    try:
        worker = spawn(ready=False)
        worker.said("waiting for Redis")
    finally:
        valkey.start()
    worker.said('"ready"')
    assert floor.output(floor.submit())["seed"] == 7


@pytest.mark.parametrize("module", ["worker.app", "worker.courier"])
def test_who_waits_for_redis_can_be_stopped(floor: Floor, spawn: Spawn, module: str) -> None:
    waiting = spawn(module, ready=False, REDIS_URL="redis://127.0.0.1:1/0")
    waiting.said("waiting for Redis")
    assert list((floor.folder / "run").iterdir()) != []
    waiting.signal(signal.SIGTERM)
    assert waiting.exit_status() == 0
    assert list((floor.folder / "run").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a signal be sent to one thread of another process")
@pytest.mark.parametrize("module", ["worker.app", "worker.courier"])
def test_a_signal_that_another_thread_got_is_heard(spawn: Spawn, module: str) -> None:
    """The kernel may choose any thread; only the main one may answer, and nothing wakes it."""
    ready = spawn(module)
    pid = ready.process.pid
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    assert ctypes.CDLL(None).tgkill(pid, max(threads), signal.SIGTERM) == 0
    assert max(threads) != pid
    assert ready.exit_status() == 0


@pytest.mark.parametrize("module", ["worker.app", "worker.courier"])
def test_another_store_than_the_others_is_refused(floor: Floor, spawn: Spawn, module: str, tmp_path: Path) -> None:
    floor.do(commands.bind_store("another"))
    worker = spawn(module, ready=False)
    assert worker.exit_status() == 2
    worker.said("STORAGE_URL")


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("worker.app", "CONCURRENCY", "none"),
        ("worker.app", "FENCE_MS", "99999"),
        ("worker.app", "EGRESS_ALLOW", "http://x"),
        ("worker.courier", "WEBHOOK_RETRY_S", "soon"),
        ("worker.courier", "STORAGE_URL", "ftp://x"),
    ],
)
def test_a_wrong_setting_is_named(floor: Floor, spawn: Spawn, module: str, name: str, value: str) -> None:
    worker = spawn(module, ready=False, **{name: value})
    assert worker.exit_status() == 2
    worker.said(name)


def test_what_redis_refuses_celery_does_not_end_the_worker(floor: Floor, spawn: Spawn) -> None:
    worker = spawn()
    floor.redis.execute_command("ACL", "SETUSER", "default", "-brpop")
    try:
        floor.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
        worker.said("NoPermissionError")
    finally:
        floor.redis.execute_command("ACL", "SETUSER", "default", "+brpop")
    assert floor.output(floor.submit())["seed"] == 7
    assert worker.process.poll() is None


def doorbells_heard(floor: Floor) -> None:
    deadline_s = time.monotonic() + 60
    while floor.redis.execute_command("LLEN", keys.DOORBELL):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_full_redis_does_not_end_the_worker(floor: Floor, spawn: Spawn) -> None:
    """Doorbells are heard while it takes nothing new."""
    worker = spawn()
    worker.said(' ready."')  # Celery says so, too, when it has connected
    worker.signal(signal.SIGSTOP)
    ids = [floor.submit() for _ in range(3)]
    floor.redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        worker.signal(signal.SIGCONT)
        doorbells_heard(floor)
    finally:
        floor.redis.execute_command("CONFIG", "SET", "maxmemory", 0)
    assert all(floor.output(id)["seed"] == 7 for id in ids)
    assert worker.process.poll() is None


def test_the_log_is_json_and_names_the_request(floor: Floor, spawn: Spawn) -> None:
    worker = spawn()
    id = floor.submit()
    floor.finished(id)
    worker.said(id)
    lines = [json.loads(line) for line in worker.lines]
    [line] = [line for line in lines if line.get("request") == id]
    assert (line["state"], line["status"], line["attempt"]) == ("succeeded", 200, 1)


def test_a_thread_that_gets_free_hears_the_next_doorbell_soon(floor: Floor, spawn: Spawn) -> None:
    """Left alone, Celery's consumer looks only once a second whether a thread is free again."""
    spawn(CONCURRENCY="2")
    waits_ms: list[int] = []
    for _ in range(12):
        for id in [floor.submit(sync_mode=True) for _ in range(3)]:
            floor.finished(id)
        id = floor.submit(sync_mode=True)
        floor.finished(id)
        view = floor.view(id)
        waits_ms.append((view.started_ms or 0) - view.created_ms)
    assert sorted(waits_ms)[-2] < 400, waits_ms
