"""Keys that are made, limited, rotated and revoked at run time, as a running API sees them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest

from api import keys as cli
from api import readiness
from api.auth import digest
from api.routes import run as synchronous
from api.settings import ApiSettings
from shared.queue import commands, keys
from shared.queue.connect import SyncRedis, open_sync
from shared.queue.execute import run_sync
from shared.queue.records import StoredKey
from shared.queue.states import State
from tests.conftest import Valkey
from tests.integration.api.live import live
from tests.integration.api.terminal import ROOT, command
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
SOON_S = 20


@pytest.fixture
def redis(redis_url: str) -> Iterator[SyncRedis]:
    client = open_sync(redis_url)
    yield client
    client.close()


class Door:
    def __init__(self, url: str) -> None:
        self.url = url

    def knock(self, credential: str, path: str = ENDPOINT) -> httpx.Response:
        headers = {"Authorization": f"Key {credential}"}
        return httpx.post(self.url + path, json=INPUT, headers=headers, trust_env=False, timeout=30)

    def until(self, credential: str, status: int) -> None:
        """A change holds within seconds, without a restart."""
        self.wait_for(lambda: self.knock(credential).status_code == status)

    def wait_for(self, happened: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + SOON_S
        while not happened():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


@pytest.fixture
def door(keyed: ApiSettings) -> Iterator[Door]:
    """Two keys come from the settings: `id:secret` and `other:secret`."""
    with live(keyed) as url:
        yield Door(url)


def test_a_key_is_let_in_until_it_is_revoked(door: Door, redis: SyncRedis) -> None:
    assert door.knock("me:guess").status_code == 401
    credential = cli.add(redis, "me")
    door.until(credential, 200)
    assert door.knock("me:guess").status_code == 401
    cli.revoke(redis, "me")
    door.until(credential, 401)
    assert door.knock("id:secret").status_code == 200
    with pytest.raises(cli.NotPossible, match="revoked"):
        cli.add(redis, "me")


def test_a_key_of_the_settings_can_be_revoked(door: Door, redis: SyncRedis) -> None:
    assert door.knock("id:secret").status_code == 200
    cli.revoke(redis, "id")
    door.until("id:secret", 401)
    assert door.knock("other:secret").status_code == 200


@pytest.mark.parametrize("end", [cli.revoke, partial(cli.rotate, overlap_s=0)], ids=["revoked", "rotated"])
def test_a_key_that_is_taken_away_ends_what_it_listens_to(
    door: Door, redis: SyncRedis, hand: Hand, monkeypatch: pytest.MonkeyPatch, end: Callable[[SyncRedis, str], str]
) -> None:
    monkeypatch.setattr(synchronous, "_LOOK_AGAIN_S", 0.2)
    credential = cli.add(redis, "me")
    door.until(credential, 200)
    attempt = hand.claim()
    path = httpx.URL(f"/fal-ai/kolors/requests/{attempt.held.id}/status/stream")
    headers = {"Authorization": f"Key {credential}"}
    with (
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=door.url, headers=headers, trust_env=False) as client,
        client.stream("GET", path) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        running = pool.submit(door.knock, credential, f"/run{ENDPOINT}")
        door.wait_for(lambda: redis.execute_command("ZCARD", keys.QUEUE) == 1)
        (waiting,) = cast("list[str]", redis.execute_command("ZRANGE", keys.QUEUE, 0, -1))
        end(redis, "me")
        deadline_s = time.monotonic() + SOON_S
        for _ in lines:
            assert time.monotonic() < deadline_s, "the stream goes on"
        answer = running.result()
    assert (answer.status_code, answer.headers["x-fal-request-id"]) == (401, waiting)
    assert hand.state(waiting) is State.CANCELLED, "nobody would get its result"
    hand.finish(attempt)


def test_both_secrets_are_valid_while_a_key_is_rotated_and_see_the_same(door: Door, redis: SyncRedis) -> None:
    old = cli.add(redis, "me")
    door.until(old, 200)
    status_url = door.knock(old).json()["status_url"]
    new = cli.rotate(redis, "me", overlap_s=3600)
    door.until(new, 200)
    assert door.knock(old).status_code == 200
    answer = httpx.get(status_url, headers={"Authorization": f"Key {new}"}, trust_env=False)
    assert answer.status_code == 202, "it is the same tenant"
    cli.rotate(redis, "me", overlap_s=0)
    door.until(new, 401)
    assert door.knock(old).status_code == 401


def test_the_old_secret_ends_by_itself(door: Door, redis: SyncRedis) -> None:
    old = cli.add(redis, "me")
    door.until(old, 200)
    new = cli.rotate(redis, "me", overlap_s=1.5)
    door.until(old, 401)
    assert door.knock(new).status_code == 200


def test_a_keys_own_limit_holds(door: Door, redis: SyncRedis) -> None:
    credential = cli.add(redis, "me", max_queued=1)
    door.until(credential, 200)
    assert door.knock(credential).status_code == 429
    cli.limit(redis, "me", max_running=None, max_queued=2)
    door.until(credential, 200)
    assert door.knock(credential).status_code == 429
    assert door.knock("id:secret").status_code == 200


def test_the_first_key_closes_an_open_server_and_the_last_one_does_not_open_it(
    keyed: ApiSettings, redis: SyncRedis
) -> None:
    with live(keyed.model_copy(update={"api_keys": ()})) as url:
        door = Door(url)
        assert door.knock("any:key").status_code == 200
        credential = cli.add(redis, "me")
        door.until("any:key", 401)
        cli.revoke(redis, "me")
        door.until(credential, 401)
        assert door.knock("any:key").status_code == 401


def test_the_keys_are_known_from_the_first_call_on(keyed: ApiSettings, redis: SyncRedis) -> None:
    credential = cli.add(redis, "me")
    with live(keyed.model_copy(update={"api_keys": ()})) as url:
        assert Door(url).knock(credential).status_code == 200
        assert Door(url).knock("any:key").status_code == 401


def test_while_redis_is_away_at_the_start_nobody_is_let_in(keyed: ApiSettings, valkey: Valkey, redis_url: str) -> None:
    valkey.stop()
    try:
        with live(keyed) as url:
            door = Door(url)
            assert [door.knock(key).status_code for key in ("id:secret", "no:body")] == [503, 503]
            valkey.start()
            door.until("id:secret", 200)
            assert door.knock("no:body").status_code == 401
    finally:
        if not valkey.is_up:
            valkey.start()


def test_two_changes_at_once_are_both_made(redis: SyncRedis) -> None:
    def interrupted(key: StoredKey | None, now_ms: int) -> StoredKey:
        if not calls:
            cli.add(redis, "other")
        calls.append(now_ms)
        return StoredKey("me", ())

    calls: list[int] = []
    cli.change(redis, "me", interrupted)
    assert len(calls) == 2
    assert [key.id for key in run_sync(redis, commands.stored_keys()).keys or ()] == ["me", "other"]


@pytest.mark.parametrize("id", ["", "a:b", "a b", "x" * 65, "ä"])
def test_an_id_is_a_plain_word(redis: SyncRedis, id: str) -> None:
    with pytest.raises(cli.NotPossible):
        cli.add(redis, id)


def test_what_is_not_there_cannot_be_changed(redis: SyncRedis) -> None:
    with pytest.raises(cli.NotPossible):
        cli.rotate(redis, "nobody", overlap_s=0)
    with pytest.raises(cli.NotPossible):
        cli.limit(redis, "nobody", max_running=1, max_queued=None)


def test_a_newer_version_may_know_more_of_a_key(redis: SyncRedis) -> None:
    cli.add(redis, "me")
    known = str(redis.execute_command("HGET", keys.KEYS, "me"))
    redis.execute_command("HSET", keys.KEYS, "me", known.replace("{", '{"colour": "red", ', 1))
    assert [key.id for key in run_sync(redis, commands.stored_keys()).keys or ()] == ["me"]


class Kept:
    """What is kept of the keys, as somebody else may write it."""

    def __init__(self, redis: SyncRedis) -> None:
        self._redis = redis

    def put(self, id: str, entry: str | bytes) -> None:
        self._redis.execute_command("HSET", keys.KEYS, id, cast("str", entry))
        self._redis.execute_command("INCR", keys.KEYS_VERSION)

    def spoil(self) -> None:
        """It is no hash any more: Redis itself refuses to read it."""
        self._redis.execute_command("SET", keys.KEYS, "nonsense")
        self._redis.execute_command("INCR", keys.KEYS_VERSION)

    def mend(self) -> None:
        self._redis.execute_command("DEL", keys.KEYS)
        self._redis.execute_command("INCR", keys.KEYS_VERSION)


@pytest.fixture
def kept(redis: SyncRedis) -> Kept:
    return Kept(redis)


def entry(id: str, **other: object) -> str:
    """As this version writes it, but for what is `other`."""
    secret = {"sha256": digest(f"{id}:s3cret"), "until_ms": None}
    return json.dumps({"id": id, "secrets": [secret], "created_ms": 1} | other)


@pytest.mark.parametrize(
    "found", [b"\xff\xfe", entry("id", secrets=[{"sha256": "s3cret", "until_ms": None}])], ids=["bytes", "no digest"]
)
def test_what_cannot_be_read_lets_nobody_in_and_keeps_nobody_from_being_revoked(
    door: Door, redis: SyncRedis, kept: Kept, caplog: pytest.LogCaptureFixture, found: str | bytes
) -> None:
    """Not by the key of the settings that has the same id, either: it may be the one that was revoked."""
    assert door.knock("id:secret").status_code == 200
    mine = cli.add(redis, "me")
    door.until(mine, 200)
    kept.put("id", found)
    door.until("id:secret", 401)
    assert door.knock("id:s3cret").status_code == 401
    assert [door.knock(good).status_code for good in (mine, "other:secret")] == [200, 200]
    cli.revoke(redis, "me")
    door.until(mine, 401)
    assert "what is kept of the key id cannot be read" in caplog.text
    assert "s3cret" not in caplog.text
    assert digest("id:s3cret") not in caplog.text


def test_what_cannot_be_read_does_not_open_a_server(keyed: ApiSettings, kept: Kept, redis: SyncRedis) -> None:
    kept.put("id", "{")
    with live(keyed.model_copy(update={"api_keys": ()})) as url:
        assert Door(url).knock("any:key").status_code == 401
        cli.revoke(redis, "id")
        mine = cli.add(redis, "me")
        Door(url).until(mine, 200)
        assert Door(url).knock("any:key").status_code == 401


def test_keys_that_redis_refuses_to_read_are_read_as_soon_as_it_does(
    door: Door,
    redis: SyncRedis,
    kept: Kept,
    hand: Hand,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then they are as they were, and the process says that it is not ready."""
    monkeypatch.setattr(readiness, "_KEYS_GOOD_FOR_S", 3)
    hand.appear()
    mine = cli.add(redis, "me")
    door.until(mine, 200)

    def ready() -> httpx.Response:
        return httpx.get(f"{door.url}/ready", trust_env=False)

    assert ready().status_code == 200
    kept.spoil()
    door.wait_for(lambda: ready().status_code == 503)
    said = ready().json()
    assert (said["redis"], said["store"], said["keys"], said["workers"]) == (True, True, False, 1)
    assert door.knock(mine).status_code == 200
    kept.mend()
    door.until(mine, 401)
    door.wait_for(lambda: ready().status_code == 200)
    assert caplog.text.count("keys: broke off") == 1, "once is enough"
    assert "WRONGTYPE" in caplog.text


def test_a_start_waits_for_keys_that_redis_refuses_to_read(keyed: ApiSettings, kept: Kept, redis: SyncRedis) -> None:
    kept.spoil()
    with live(keyed) as url:
        door = Door(url)
        assert door.knock("id:secret").status_code == 503
        assert httpx.get(f"{url}/ready", trust_env=False).json()["keys"] is False
        kept.mend()
        cli.revoke(redis, "other")
        door.until("id:secret", 200)
        assert door.knock("other:secret").status_code == 401


def test_what_cannot_be_read_is_listed_and_can_be_revoked(redis_url: str, kept: Kept) -> None:
    kept.put("id", "{")
    kept.put("other", entry("other", created_ms=10**17))
    for row in run(redis_url, "list")[1].splitlines()[1:]:
        assert row.split()[2:] == ["unreadable", "0", "-", "-", "-"]
    assert run(redis_url, "add", "id") == (1, "there is a key id already\n")
    for verb in ("rotate", "limit"):
        status, said = run(redis_url, verb, "id")
        assert (status, "cannot be read" in said) == (1, True)
    assert run(redis_url, "revoke", "id") == (0, "")
    assert run(redis_url, "list")[1].splitlines()[1].split()[2:4] == ["revoked", "0"]


run = partial(command, "api.keys")


def test_the_command(redis_url: str) -> None:
    status, credential = run(redis_url, "add", "me", "--running", "2")
    assert status == 0
    assert re.fullmatch(r"me:[A-Za-z0-9_-]{43}\n", credential)
    assert run(redis_url, "add", "me") == (1, "there is a key me already\n")
    assert run(redis_url, "limit", "me", "--queued", "0") == (0, "")
    assert run(redis_url, "rotate", "me")[1] != credential
    heads, row = run(redis_url, "list")[1].splitlines()
    assert heads.split()[2:6] == ["STATE", "SECRETS", "RUNNING", "QUEUED"]
    assert row.split()[2:6] == ["valid", "2", "default", "none"]
    assert run(redis_url, "revoke", "me") == (0, "")
    assert run(redis_url, "list")[1].splitlines()[1].split()[2:4] == ["revoked", "0"]
    assert run(redis_url, "rotate", "me")[0] == 1
    away = run("redis://:secret@127.0.0.1:1/0", "list")
    assert away == (1, "Redis does not answer at 127.0.0.1:1 (REDIS_URL)\n")


@pytest.mark.parametrize(
    "words",
    [("rotate", "me", "--overlap-s", "nan"), ("rotate", "me", "--overlap-s", "inf"), ("add", "me", "--running", "٣")],
)
def test_what_is_no_number_is_said(redis_url: str, words: tuple[str, ...]) -> None:
    status, said = run(redis_url, *words)
    assert status == 2
    assert f"argument {words[2]}: expected" in said


def everything(redis: SyncRedis) -> str:
    """All that Redis holds, as text."""
    found: list[str] = []
    for name in cast("list[str]", redis.execute_command("KEYS", "*")):
        read = {"hash": ("HGETALL",), "string": ("GET",), "zset": ("ZRANGE", 0, -1), "list": ("LRANGE", 0, -1)}
        read |= {"stream": ("XRANGE", "-", "+"), "set": ("SMEMBERS",)}
        verb, *rest = read[str(redis.execute_command("TYPE", name))]
        found.append(f"{name} {redis.execute_command(str(verb), name, *rest)}")
    return "\n".join(found)


def test_no_secret_is_logged_or_stored(tmp_path: Path, redis_url: str, redis: SyncRedis) -> None:
    """At the loudest level: of good and bad keys, in calls that succeed, that are refused and that fail."""
    made = cli.add(redis, "me")
    environment = {"API_KEYS": "own:T0P-own", "LOG_LEVEL": "DEBUG", "PORT": "0", "DATA_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": redis_url} | environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"running on (http://[0-9.:]+)", line):
                break
        else:
            raise AssertionError("".join(said))
        door = Door(address[1])
        for credential in ("own:T0P-own", made, "own:T0P-guess", "me:T0P-guess", "T0P-guess"):
            for path in (ENDPOINT, "/storage/upload/initiate", "/no/such/path"):
                door.knock(credential, path)
        process.terminate()
        said += process.stderr
    text = "".join(said) + everything(redis)
    assert len(said) > 2
    for secret in ("T0P-own", "T0P-guess", made.partition(":")[2]):
        assert secret not in text


def test_a_slip_in_a_revocation_is_said(redis: SyncRedis) -> None:
    cli.add(redis, "alice", max_running=None, max_queued=None)
    assert cli.revoke(redis, "alice") == ""
    assert "no key alcie" in cli.revoke(redis, "alcie")
