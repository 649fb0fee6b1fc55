"""One round of looking after what others left behind: expired leases, due retries, lost doorbells, passed timeouts.

About once a second in the courier and in every worker; the scripts are atomic, so it needs no leader.
"""

import logging
from typing import Final

from shared.queue import commands, execute
from shared.queue.connect import SyncRedis

_log = logging.getLogger(__name__)
EVERY_S: Final = 1.0
_LIMIT: Final = 100


class Rescuer:
    def __init__(self, redis: SyncRedis, *, retention_s: int) -> None:
        self._redis = redis
        self._retention_s = retention_s

    def round(self) -> None:
        """Raises `ServiceUnavailable`."""
        rescued = execute.run_sync(self._redis, commands.rescue(retention_s=self._retention_s, limit=_LIMIT))
        if rescued.requeued or rescued.failed or rescued.cancelled:
            _log.warning(
                "leases ended without an answer: %d queued again, %d given up, %d cancelled",
                rescued.requeued,
                rescued.failed,
                rescued.cancelled,
            )
        while expired := execute.run_sync(self._redis, commands.expire(retention_s=self._retention_s, limit=_LIMIT)):
            _log.info("%d queued requests had waited too long", expired)
            if expired < _LIMIT:
                return
