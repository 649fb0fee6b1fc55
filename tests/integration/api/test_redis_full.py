"""A Redis that is full or away, seen by callers: 503 with a time to come again, nothing half done, and it passes."""

import asyncio
import base64
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest

from api.settings import ApiSettings
from shared.queue.connect import SyncRedis, open_sync
from shared.queue.pipe import Pipe
from tests.conftest import Valkey, leaks
from tests.integration.api.live import live, wired
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
INLINE = INPUT | {"image_url": "data:image/png;base64," + base64.b64encode(b"a picture").decode()}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may mistreat."""
    (tmp_path / "valkey").mkdir()
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis(own: Valkey) -> Iterator[SyncRedis]:
    client = open_sync(own.url)
    yield client
    client.close()


@pytest.fixture
def client(own: Valkey, tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        live(ApiSettings(data_dir=tmp_path, redis_url=own.url)) as url,
        httpx.Client(base_url=url, headers={"Authorization": "Key id:secret"}, trust_env=False, timeout=30) as caller,
    ):
        yield caller


def _refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["error_type"] == answer.headers["x-fal-error-type"] == "runner_scheduling_failure"
    assert (answer.headers["retry-after"], answer.headers["x-fal-retryable"]) == ("1", "true")


def _limit(redis: SyncRedis, max_bytes: int) -> None:
    redis.execute_command("CONFIG", "SET", "maxmemory", max_bytes)


def _used_bytes(redis: SyncRedis) -> int:
    said = cast("dict[str, int]", redis.execute_command("INFO", "memory"))
    return said["used_memory"]


def test_a_redis_that_fills_up_under_submits_takes_each_whole_or_not_at_all(
    client: httpx.Client, redis: SyncRedis, own: Valkey
) -> None:
    accepted = [client.post(ENDPOINT, json=INPUT).json()["request_id"]]
    redis.execute_command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    _limit(redis, _used_bytes(redis) + 300_000)
    refusals = 0
    while refusals < 20:
        answer = client.post(ENDPOINT, json=INPUT | {"prompt": "p" * 9000})
        if answer.status_code == 200:
            accepted.append(answer.json()["request_id"])
            assert len(accepted) < 1000, "it never filled up"
        else:
            _refused(answer)
            refusals += 1
    assert len(accepted) > 3
    queued = cast("list[str]", redis.execute_command("ZRANGE", "kolors:queue", 0, -1))
    assert sorted(queued) == sorted(accepted)
    assert leaks(redis) == []

    hand = Hand(own.url)
    attempt = hand.claim()  # what is there goes on
    hand.finish(attempt)
    hand.close()
    assert client.get(f"/fal-ai/kolors/requests/{attempt.held.id}").json() == {"seed": 1}
    assert client.put(f"/fal-ai/kolors/requests/{accepted[1]}/cancel").status_code == 202
    _limit(redis, 0)
    assert client.post(ENDPOINT, json=INPUT).status_code == 200


@pytest.mark.parametrize("path", [ENDPOINT, f"/run{ENDPOINT}"])
def test_a_picture_that_finds_redis_full_is_not_kept(
    client: httpx.Client, redis: SyncRedis, tmp_path: Path, path: str
) -> None:
    client.post(ENDPOINT, json=INPUT).raise_for_status()
    before = sorted((tmp_path / "files").rglob("*"))
    _limit(redis, 1)
    _refused(client.post(path, json=INLINE))
    _refused(client.post("/files/upload", content=b"x"))
    _refused(client.post(path, json={"prompt": 1}) if path == ENDPOINT else client.post(path, json=INPUT))
    assert sorted((tmp_path / "files").rglob("*")) == before
    assert redis.execute_command("ZCARD", "kolors:queue") == 1
    _limit(redis, 0)
    assert client.post(ENDPOINT, json=INLINE).status_code == 200


@pytest.mark.timeout(90)
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_redis_that_is_away_is_a_503_until_it_is_back(client: httpx.Client, own: Valkey, fault: str) -> None:
    receipt = client.post(ENDPOINT, json=INPUT).json()
    own.kill() if fault == "killed" else os.kill(own.pid, signal.SIGSTOP)
    try:
        for method, url in (
            ("POST", ENDPOINT),
            ("POST", f"/run{ENDPOINT}"),
            ("GET", receipt["status_url"]),
            ("GET", receipt["response_url"]),
            ("PUT", receipt["cancel_url"]),
            ("POST", "/files/upload"),
        ):
            _refused(client.request(method, url, json=INPUT))
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
    finally:
        own.start() if fault == "killed" else os.kill(own.pid, signal.SIGCONT)
    assert client.get(receipt["status_url"]).json()["status"] == "IN_QUEUE"
    assert client.post(ENDPOINT, json=INPUT).status_code == 200


@pytest.mark.parametrize("path", [ENDPOINT, f"/run{ENDPOINT}"])
async def test_a_submit_that_redis_confirms_too_late_can_be_found_and_taken_back(
    own: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("api.app.Pipe", partial(Pipe, timeout_s=1.0))
    async with (
        wired(ApiSettings(data_dir=tmp_path, redis_url=own.url), own) as (base, board),
        httpx.AsyncClient(
            base_url=base, headers={"Authorization": "Key id:secret"}, trust_env=False, timeout=30
        ) as client,
    ):
        submitting = asyncio.create_task(client.post(path, json=INPUT))
        confirmation = await board.catch("submit", answered=True, within_s=20)
        answer = await submitting
        confirmation.drop()
        _refused(answer)
        url = f"/fal-ai/kolors/requests/{answer.headers['x-fal-request-id']}"
        assert (await client.get(f"{url}/status")).json()["status"] == "IN_QUEUE"
        assert (await client.put(f"{url}/cancel")).status_code == 202
