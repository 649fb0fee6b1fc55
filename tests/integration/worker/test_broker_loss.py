"""A worker outlives its broker, again and again. Without worker/reconnect.py about one loss in three ended it."""

from tests.conftest import Valkey
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import Floor

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
