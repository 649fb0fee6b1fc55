"""Valkey killed, restarted, frozen, and all its connections cut."""

import asyncio
import signal

from tests.chaos.scene import Fault, Scene


async def _killed(scene: Scene) -> None:
    scene.stage.valkey.signal(signal.SIGKILL)
    scene.note("SIGKILL of Valkey", "valkey")
    await scene.stage.valkey.ended()
    await scene.stage.redis_is_back()


async def _restarted(scene: Scene) -> None:
    scene.stage.valkey.signal(signal.SIGTERM)
    scene.note("SIGTERM of Valkey", "valkey")
    await scene.stage.valkey.ended()
    await scene.stage.redis_is_back()


async def _frozen(scene: Scene) -> None:
    """Once for less than a lease, once for more: then every lease has ended when it wakes."""
    pause_s = scene.stage.pace.lease_s * (1.3 if scene.takes_turns() else 0.5)
    scene.stage.valkey.signal(signal.SIGSTOP)
    scene.note(f"SIGSTOP of Valkey for {pause_s:.1f} s", "valkey")
    await asyncio.sleep(pause_s)
    scene.stage.valkey.signal(signal.SIGCONT)
    await scene.stage.redis_is_back()


async def _cut(scene: Scene) -> None:
    for kind in ("normal", "pubsub"):
        await scene.stage.ask("CLIENT", "KILL", "TYPE", kind)
    scene.note("CLIENT KILL of all", "valkey")


FAULTS = [
    Fault("redis-killed", "Valkey is killed (SIGKILL) and started again", _killed),
    Fault("redis-restarted", "Valkey is stopped (SIGTERM) and started again", _restarted),
    Fault("redis-frozen", "Valkey is frozen (SIGSTOP), for less than a lease and for more", _frozen),
    Fault("redis-cut", "every connection of Redis is cut (CLIENT KILL)", _cut, rounds=3),
]
