"""Whether requests can be carried out now: Redis answers, the store takes files and is everybody's, the keys are those
of now, a worker is loaded.

Asked often and by many, so an answer is good for a second and is made once at a time.
"""

import asyncio
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api.auth import Keyring
from shared.errors import ServiceUnavailable, WrongSetting
from shared.files.base import Store, StoreUnavailable
from shared.queue import commands, execute
from shared.queue.connect import AsyncRedis

_GOOD_FOR_S = 1.0
_PATIENCE_S = 5.0
_KEYS_GOOD_FOR_S = 15.0
"""They are read every second; after an error within 12 at the latest, where Redis is slow as well."""


@dataclass(frozen=True, slots=True)
class Readiness:
    redis: bool
    store: bool
    keys: bool
    """Those that were made at run time have been read lately: whoever was revoked since is still let in."""
    workers: int
    """Loaded and not draining."""

    @property
    def is_ready(self) -> bool:
        return self.redis and self.store and self.keys and self.workers > 0


async def bind_store(redis: AsyncRedis, store: Store) -> None:
    """Raises `WrongSetting` where the other processes use another store, and what either of the two raises."""
    own = await run_in_threadpool(lambda: store.id)
    if await execute.run(redis, commands.bind_store(own)) != own:
        raise WrongSetting("STORAGE_URL", "is not the store that the other processes of this queue use")


class Probe:
    def __init__(self, redis: AsyncRedis, store: Store, keyring: Keyring) -> None:
        self._redis = redis
        self._store = store
        self._keyring = keyring
        self._bound = False
        self._lock = asyncio.Lock()
        self._known: Readiness | None = None
        self._known_at = 0.0

    async def look(self) -> Readiness:
        """Never raises; takes at most a few seconds."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._known is None or now - self._known_at > _GOOD_FOR_S:
                workers, store = await asyncio.gather(self._workers(), self._check_store())
                keys = time.monotonic() - self._keyring.read_s < _KEYS_GOOD_FOR_S
                self._known = Readiness(redis=workers is not None, store=store, keys=keys, workers=workers or 0)
                self._known_at = now
            return self._known

    async def _workers(self) -> int | None:
        try:
            fleet = await execute.run(self._redis, commands.fleet())
        except ServiceUnavailable:
            return None
        return sum(worker.ready and not worker.draining for worker in fleet.workers)

    async def _check_store(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if not self._bound:
                    await bind_store(self._redis, self._store)
                    self._bound = True
                await run_in_threadpool(self._store.check)
        except (ServiceUnavailable, StoreUnavailable, WrongSetting, TimeoutError):
            return False
        return True
