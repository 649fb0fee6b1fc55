"""A worker outlives its broker, again and again, thanks to worker/reconnect.py."""

from typing import Any

import pytest
from kombu.connection import Connection
from kombu.transport.redis import Channel

from tests.conftest import Valkey
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import Floor
from worker import reconnect

LOSSES = 5


def test_redis_dies_just_after_a_doorbell(floor: Floor, spawn: Spawn, valkey: Valkey) -> None:
    worker = spawn(FAKE_STEP_S="0.05")
    for _ in range(LOSSES):
        id = floor.submit(num_inference_steps=10, strength=1.0)
        floor.running(id)
        valkey.kill()
        valkey.start()
        assert floor.output(id)["seed"] == 7
        assert worker.process.poll() is None, "".join(worker.lines[-3:])
    assert all("Unrecoverable" not in line for line in worker.lines)


def use_after_close(url: str) -> None:
    """What the consumer does to a channel whose connection it has given up."""
    connection: Any = Connection(url)
    channel = connection.default_channel
    connection.collect()
    channel._connparams()


def test_the_workaround_is_still_needed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, delete worker/reconnect.py: kombu has learned to say what is wrong."""
    monkeypatch.setattr(Channel, "_connparams", reconnect.kombus_own)
    with pytest.raises(AttributeError):
        use_after_close(redis_url)


def test_the_workaround_reports_a_lost_connection(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_connparams", reconnect.kombus_own)
    reconnect.install()
    with pytest.raises(ConnectionError):
        use_after_close(redis_url)
