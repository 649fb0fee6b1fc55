"""Stops a process whose files the others could not see: every process of one Redis must use one file store."""

import logging
import threading

from shared.errors import ServiceUnavailable, WrongSetting
from shared.files.base import Store
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis

_log = logging.getLogger(__name__)
_AGAIN_S = 1.0


def bind(redis: SyncRedis, store: Store, *, stop: threading.Event | None = None) -> None:
    """Waits for a Redis that is away, or until `stop` is set; then nothing is known about the store.

    Raises `WrongSetting` where it is another than the one in force.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            bound = execute.run_sync(redis, commands.bind_store(store.id))
        except ServiceUnavailable:
            _log.warning("waiting for Redis")
            stop.wait(_AGAIN_S)
            continue
        if bound != store.id:
            problem = f"this file store is {store.id}, but the other processes of this Redis use {bound}"
            raise WrongSetting("STORAGE_URL", problem)
        return
