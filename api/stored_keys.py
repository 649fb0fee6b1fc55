"""Keeps the keyring like the keys that were made at run time, so that a change holds within seconds and everywhere."""

import asyncio
import logging
import time

from api.auth import Keyring
from shared.errors import ServiceUnavailable
from shared.queue import commands, execute
from shared.queue.connect import AsyncRedis
from shared.queue.records import StoredKey

_log = logging.getLogger(__name__)
_EVERY_S = 1.0
_FIRST_S = 2.0


class StoredKeys:
    """While Redis is away the keys stay as they were read last."""

    def __init__(self, redis: AsyncRedis, keyring: Keyring) -> None:
        self._redis = redis
        self._keyring = keyring
        self._version = ""
        self._keys: tuple[StoredKey, ...] = ()

    async def load(self) -> None:
        """One look, for the start. What cannot be read, or not soon enough, is looked at again by `run`."""
        try:
            async with asyncio.timeout(_FIRST_S):
                await self._look()
        except Exception:  # noqa: BLE001 - an edge: `run` says what it was, and `/ready` that it lasts
            _log.warning("the keys cannot be read yet")

    async def run(self) -> None:
        """Until it is cancelled. Raises what `execute.run` does, but for a Redis that is away."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self._look()
            except ServiceUnavailable:
                continue

    async def _look(self) -> None:
        found = await execute.run(self._redis, commands.stored_keys(known=self._version))
        if found.keys is not None:
            self._keys = found.keys
            for key in found.keys:
                if not key.readable:
                    _log.error("what is kept of the key %s cannot be read: it is not accepted", key.id)
        if found.keys is not None or any(secret.until_ms for key in self._keys for secret in key.secrets):
            self._keyring.replace(self._keys, now_ms=found.now_ms)
        self._version = found.version  # last: what broke off before is read once more
        self._keyring.read_s = time.monotonic()
