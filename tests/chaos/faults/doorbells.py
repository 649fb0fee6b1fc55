"""Doorbells lost, doubled and reordered.

The workers are held still for a moment, so that rings pile up; then the list is tampered with in one script.
"""

import signal

from shared.queue import keys
from tests.chaos.scene import PATIENCE_S, Fault, Inject, Scene

_RINGS = 4
_LOSE = "redis.call('DEL', KEYS[1])"
_DOUBLE = "for _, ring in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do redis.call('LPUSH', KEYS[1], ring) end"
_REVERSE = """
local rings = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
for _, ring in ipairs(rings) do redis.call('LPUSH', KEYS[1], ring) end
"""


def _tampering(what: str, script: str, *, cut: bool = False) -> Inject:
    """`cut`: the workers' connections, too, with the rings that are on their way over them."""

    async def inject(scene: Scene) -> None:
        stage = scene.stage

        async def piled_up() -> bool:
            return int(str(await stage.ask("LLEN", keys.DOORBELL))) >= _RINGS

        for worker in stage.workers:
            worker.signal(signal.SIGSTOP)
        try:
            await stage.until(piled_up, "doorbells pile up", PATIENCE_S)
            await stage.ask("EVAL", script, 1, keys.DOORBELL)
            if cut:
                for worker in stage.workers:
                    stage.wires[worker.name].cut()
            scene.note(what)
        finally:
            for worker in stage.workers:
                worker.signal(signal.SIGCONT)

    return inject


FAULTS = [
    Fault("rings-lost", "doorbells are lost, in Redis and on the way", _tampering("lost", _LOSE, cut=True), at_once=24),
    Fault("rings-doubled", "every doorbell comes twice", _tampering("doubled", _DOUBLE), at_once=24),
    Fault("rings-reordered", "doorbells come in another order", _tampering("reversed", _REVERSE), at_once=24),
]
