"""Deletes files whose time has come, and what uploads that were never completed left behind.

The queue knows when each file is due; a file is forgotten only after it is gone. One that cannot be deleted is put off,
so that it does not keep those behind it.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.files.base import PARTS_S, Store, StoreUnavailable
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis

_log = logging.getLogger(__name__)
_LIMIT: Final = 200
_MOST_FAILURES: Final = 5
"""In one round: then it is the store, and not the files."""
_AGAIN_MS: Final = 600_000
_UNFINISHED_EVERY_S: Final = 3600.0
_UNFINISHED_AFTER: Final = timedelta(seconds=PARTS_S, hours=1)
"""With an hour for who began late, for clocks that differ and for the joining of the parts."""


class Sweep:
    def __init__(self, redis: SyncRedis, store: Store) -> None:
        self._redis = redis
        self._store = store
        self._unfinished_at_s = time.monotonic()

    def round(self) -> None:
        """Everything that is due. Raises `ServiceUnavailable`; a store that is away is tried again next time."""
        failed: list[str] = []
        while len(failed) < _MOST_FAILURES and (due := execute.run_sync(self._redis, commands.due_files(_LIMIT))):
            earlier = len(failed)
            deleted = self._delete(due, failed)
            if deleted:
                execute.run_sync(self._redis, commands.forget_files(deleted, only_due=True))
                _log.info("%d files deleted", len(deleted))
            if failed[earlier:]:
                execute.run_sync(self._redis, commands.put_off_files(failed[earlier:], by_ms=_AGAIN_MS))
        if len(failed) < _MOST_FAILURES:
            self._sweep_unfinished()

    def _delete(self, due: list[str], failed: list[str]) -> list[str]:
        """Which of them are gone. What cannot be deleted is added to `failed`; the last that that may hold ends it."""
        deleted: list[str] = []
        for key in due:
            try:
                self._store.delete(key)
            except StoreUnavailable as error:
                _log.warning("a file was not deleted, and is put off: %s", error, extra={"file": key})
                failed.append(key)
                if len(failed) == _MOST_FAILURES:
                    break
            else:
                deleted.append(key)
        return deleted

    def _sweep_unfinished(self) -> None:
        if time.monotonic() < self._unfinished_at_s:
            return
        self._unfinished_at_s = time.monotonic() + _UNFINISHED_EVERY_S
        try:
            dropped = self._store.drop_unfinished(before=datetime.now(UTC) - _UNFINISHED_AFTER)
        except StoreUnavailable as error:
            _log.warning("unfinished uploads stay for now: %s", error)
            return
        if dropped:
            _log.info("%d unfinished uploads removed", dropped)
