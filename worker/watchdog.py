"""Ends a worker that has gone deaf: idle, although requests wait and the rescuer rings for them every second.

Celery's own liveness check answers from its event loop even when its consumer has silently stopped. A hung step of
the engine is not our business: the engine ends the process itself.
"""

import logging
import time
from collections.abc import Callable

from shared.queue import commands, execute
from shared.queue.connect import SyncRedis

_log = logging.getLogger(__name__)
EXIT_STATUS = 70


class Watchdog:
    """`busy` says whether any thread is at work; `heard_s` when the last doorbell was answered (monotonic)."""

    def __init__(
        self,
        redis: SyncRedis,
        *,
        busy: Callable[[], bool],
        heard_s: Callable[[], float],
        stall_s: float,
        end: Callable[[int], object],
    ) -> None:
        self._redis = redis
        self._busy = busy
        self._heard_s = heard_s
        self._stall_s = stall_s
        self._end = end
        self._waiting_since_s: float | None = None

    def round(self) -> None:
        """Raises `ServiceUnavailable`: while Redis is away nobody can hear anything."""
        now_s = time.monotonic()
        if self._busy() or self._nothing_waits():
            self._waiting_since_s = None
            return
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if now_s - max(self._waiting_since_s, self._heard_s()) > self._stall_s:
            _log.critical("requests wait, but no doorbell was heard for %.0f s: starting anew", self._stall_s)
            self._end(EXIT_STATUS)

    def _nothing_waits(self) -> bool:
        fleet = execute.run_sync(self._redis, commands.fleet())
        return fleet.queued == fleet.parked
