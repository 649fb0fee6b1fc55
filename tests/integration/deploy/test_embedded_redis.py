"""The Redis of the embedded default: a real server, started as the launcher starts it."""

import os
import signal
import stat
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import redis as client

from deploy.local import redis
from deploy.local.settings import LocalSettings, read
from shared.errors import WrongSetting
from tests.acceptance.harness.waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    settings = read({"DATA_DIR": str(tmp_path / "with space")})
    settings.run_dir.mkdir(parents=True)
    return settings


@contextmanager
def running(embedded: redis.Embedded) -> Generator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(embedded.command, stdout=subprocess.DEVNULL)
    until(lambda: _answers(embedded.url), within_s=10, what="the server answers", pause_s=0.02)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def _connect(url: str) -> Any:
    return cast("Any", client.Redis.from_url(url))  # pyright: ignore[reportUnknownMemberType]


def _answers(url: str) -> bool:
    with _connect(url) as connection:
        try:
            return bool(connection.ping())
        except client.ConnectionError:
            return False


def test_what_was_written_survives_kill_9(settings: LocalSettings):
    first = redis.embedded(settings)
    with running(first) as process, _connect(first.url) as connection:
        for number in range(100):
            connection.set(f"key {number}", number)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    again = redis.embedded(settings)
    with running(again), _connect(again.url) as connection:
        assert connection.dbsize() == 100


def test_it_writes_its_pid_and_never_forgets(settings: LocalSettings):
    embedded = redis.embedded(settings)
    with running(embedded) as process, _connect(embedded.url) as connection:
        assert int((settings.run_dir / "redis.pid").read_text()) == process.pid
        told = connection.config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "save", "bind")
        assert told == {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": str(4 * 2**30),
            "maxmemory-policy": "noeviction",
            "save": "",
            "bind": "127.0.0.1",
        }


def test_strangers_on_this_machine_are_kept_out(settings: LocalSettings):
    embedded = redis.embedded(settings)
    with running(embedded):
        parts = urlsplit(embedded.url)
        with _connect(f"redis://127.0.0.1:{parts.port}/0") as stranger, pytest.raises(client.AuthenticationError):
            stranger.ping()
    for name in ("redis.url", "redis.conf"):
        assert stat.S_IMODE((settings.run_dir / name).stat().st_mode) == 0o600
    assert (settings.run_dir / "redis.url").read_text().strip() == embedded.url


def test_what_it_writes_is_for_its_owner_only(settings: LocalSettings):
    folder = settings.data_dir / "redis"
    redis.embedded(settings)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)  # as versions before left it
    redis.embedded(settings)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_its_settings_reach_it(tmp_path: Path):
    settings = read({"DATA_DIR": str(tmp_path), "REDIS_FSYNC": "everysec", "REDIS_MAXMEMORY": "3MB"})
    settings.run_dir.mkdir()
    embedded = redis.embedded(settings)
    with running(embedded), _connect(embedded.url) as connection:
        told = connection.config_get("appendfsync", "maxmemory")
        assert told == {"appendfsync": "everysec", "maxmemory": str(3 * 2**20)}


def test_without_any_server_the_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(redis, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrongSetting, match="REDIS_URL"):
        redis.find_server()


def test_a_server_on_the_path_must_be_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(redis, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name, version in (("valkey-server", "Server v=5.9.9"), ("redis-server", "Redis server v=7.0.15 sha=0")):
        server = tmp_path / name
        server.write_text(f"#!/bin/sh\necho '{version}'\n")
        server.chmod(0o755)
    assert redis.find_server() == tmp_path / "redis-server"
