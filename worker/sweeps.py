"""Deletes files whose time has come, and what uploads that were never completed left behind.

The queue knows when each file is due; a file is forgotten only after it is gone.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.files.base import Store, StoreUnavailable
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis

_log = logging.getLogger(__name__)
_LIMIT: Final = 200
_UNFINISHED_EVERY_S: Final = 3600.0
_UNFINISHED_AFTER: Final = timedelta(days=1)


class Sweep:
    def __init__(self, redis: SyncRedis, store: Store) -> None:
        self._redis = redis
        self._store = store
        self._unfinished_at_s = time.monotonic()

    def round(self) -> None:
        """Everything that is due. Raises `ServiceUnavailable`; a store that is away is tried again next time."""
        try:
            while due := execute.run_sync(self._redis, commands.due_files(_LIMIT)):
                for key in due:
                    self._store.delete(key)
                execute.run_sync(self._redis, commands.forget_files(due))
                _log.info("%d files deleted", len(due))
            self._sweep_unfinished()
        except StoreUnavailable as error:
            _log.warning("sweep put off: %s", error)

    def _sweep_unfinished(self) -> None:
        if time.monotonic() < self._unfinished_at_s:
            return
        self._unfinished_at_s = time.monotonic() + _UNFINISHED_EVERY_S
        dropped = self._store.drop_unfinished(before=datetime.now(UTC) - _UNFINISHED_AFTER)
        if dropped:
            _log.info("%d unfinished uploads removed", dropped)
