"""Tells the world how requests ended: takes the webhooks that are due, signs them, posts them, plans the next try.

The queue keeps what is due and how often it was tried, so nothing is lost with this process. Knows no engine.
No tenant gets more than half of the threads that the others leave it, so nobody holds up everybody; and no target of
a tenant gets more than a quarter of all before it has answered promptly, or when it fails or dawdles.
However large a result is, a piece of it is held at a time: it is read once, into a file, to be signed and posted.
"""

import hashlib
import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from shared import egress
from shared.errors import ServiceUnavailable
from shared.files.base import FileMissing, Store, StoreUnavailable
from shared.files.spool import spool
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis
from shared.queue.records import Delivery
from shared.queue.states import State
from shared.wire import webhook

_log = logging.getLogger(__name__)
_SLOW_S: Final = 2.0
_READ_S: Final = 15.0
"""For reading a result, before the receiver's time begins. What takes longer is not posted: its lease might end
meanwhile, and others would post it, too."""
_SPARE_S: Final = 5.0
_SOON_MS: Final = (50, 250)
_LATER_MS: Final = (1_000, 3_000)
_CROWD: Final = 50
"""So many postponed ones of a tenant come back at a time, and so many more each time later: a crowd of thousands must
not keep the courier busy with looking at them."""
_LOOKS: Final = 1_000
_JITTER: Final = 0.2
_PIECE_BYTES: Final = 256 * 1024
_MOST_LINES: Final = 10_000
_ANONYMOUS: Final = "anonymous"
"""Receivers refuse an empty user id."""
_Line = tuple[str, str]
"""Tenant and target. Who posts to a wrong path of a host does not make it a slow one for the others."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How webhooks are delivered. `retry_s[n - 1]` is the pause after attempt n; none left means giving up."""

    timeout_s: float
    retry_s: Sequence[float]
    threads: int
    allow: egress.Allow

    def pause_ms(self, attempt: int) -> int | None:
        if attempt > len(self.retry_s):
            return None
        return round(self.retry_s[attempt - 1] * 1000 * random.uniform(1 - _JITTER, 1 + _JITTER))


class Webhooks:
    """`round` starts what is due and returns; `done` is called after each delivery, to look for the next at once."""

    def __init__(self, redis: SyncRedis, store: Store, data_dir: Path, keys: webhook.SigningKeys, terms: Terms) -> None:
        self._redis = redis
        self._store = store
        self._data_dir = data_dir
        self._keys = keys
        self._terms = terms
        self._pool = ThreadPoolExecutor(terms.threads, thread_name_prefix="webhook")
        self._lock = threading.Lock()
        self._under_way: Counter[_Line] = Counter()
        self._prompt: dict[_Line, bool] = {}
        self.done: Callable[[], object] = lambda: None

    def round(self) -> None:
        """Raises `ServiceUnavailable`."""
        lease_ms = round((_READ_S + self._terms.timeout_s + _SPARE_S) * 1000)
        postponed: Counter[str] = Counter()
        for _ in range(_LOOKS):  # what is postponed must not hide what is due behind it
            with self._lock:
                free = self._terms.threads - self._under_way.total()
            if free <= 0:
                return
            read_by_s = time.monotonic() + _READ_S
            taken = execute.run_sync(self._redis, commands.deliver(limit=free, lease_ms=lease_ms))
            if not taken:
                return
            for delivery in taken:
                line = _line(delivery)
                if self._begin(line):
                    self._pool.submit(self._carry, delivery, line, read_by_s)
                else:
                    postponed[delivery.tenant] += 1
                    by_ms = self._pause_ms(line) * (1 + postponed[delivery.tenant] // _CROWD)
                    execute.run_sync(self._redis, commands.postpone(delivery.id, delivery.attempt, by_ms=by_ms))

    def close(self) -> None:
        """Ends when what is under way has ended; the rest is still in the queue."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, line: _Line) -> bool:
        with self._lock:
            of_tenant = sum(number for (tenant, _), number in self._under_way.items() if tenant == line[0])
            left = self._terms.threads - (self._under_way.total() - of_tenant)
            share = self._terms.threads if self._prompt.get(line) else max(1, self._terms.threads // 4)
            if of_tenant >= math.ceil(left / 2) or self._under_way[line] >= share:
                return False
            self._under_way[line] += 1
            return True

    def _pause_ms(self, line: _Line) -> int:
        return random.randint(*(_SOON_MS if self._prompt.get(line, True) else _LATER_MS))

    def _carry(self, delivery: Delivery, line: _Line, read_by_s: float) -> None:
        began_s = time.monotonic()
        delivered = False
        try:
            delivered = self._deliver(delivery, read_by_s)
        except Exception:  # noqa: BLE001 - an edge: one webhook must not take the courier with it
            _log.exception("webhook failed", extra={"request": delivery.id})
        finally:
            self._end(line, prompt=delivered and time.monotonic() - began_s < _SLOW_S)
        try:
            self._settle(delivery, delivered=delivered)
        except ServiceUnavailable:
            _log.warning("webhook not settled: it will be sent again", extra={"request": delivery.id})
        self.done()

    def _end(self, line: _Line, *, prompt: bool) -> None:
        with self._lock:
            self._under_way[line] -= 1
            if not self._under_way[line]:
                del self._under_way[line]
            if len(self._prompt) >= _MOST_LINES:
                self._prompt.clear()
            self._prompt[line] = prompt

    def _deliver(self, delivery: Delivery, read_by_s: float) -> bool:
        """One POST, signed anew; anything but a 2xx is a failure, a redirect too. The receiver's time begins when all
        is read."""
        try:
            with spool(self._data_dir) as file:
                sha256, length = _keep(self._body(delivery), file, by_s=read_by_s)
                headers = webhook.signed_headers(
                    self._keys,
                    request_id=delivery.id,
                    user_id=delivery.tenant or _ANONYMOUS,
                    timestamp_s=int(time.time()),
                    sha256=sha256,
                ) | {"Content-Length": str(length)}
                body, timeout_s = iter(partial(file.read, _PIECE_BYTES), b""), self._terms.timeout_s
                status = egress.post(delivery.url, body, headers, timeout_s=timeout_s, allow=self._terms.allow)
        except (egress.Blocked, egress.FetchFailed, StoreUnavailable) as error:
            _log.info("webhook: %s", error, extra=_fields(delivery))
            return False
        _log.info("webhook answered %d", status, extra=_fields(delivery))
        return 200 <= status < 300

    def _body(self, delivery: Delivery) -> Iterator[bytes]:
        """The same bytes at every attempt, in pieces."""
        id, succeeded, status = delivery.id, delivery.state is State.SUCCEEDED, delivery.status
        try:
            stored = None if delivery.body_key is None else self._store.read(delivery.body_key)
        except FileMissing:
            stored = None  # and `delivery.body` is empty: told as unreadable
        if stored is None:
            yield webhook.payload(id, succeeded=succeeded, status=status, body=delivery.body)
            return
        before, after = webhook.around(id, succeeded=succeeded, status=status)
        yield before
        yield from stored
        yield after

    def _settle(self, delivery: Delivery, *, delivered: bool) -> None:
        retry_in_ms = None if delivered else self._terms.pause_ms(delivery.attempt)
        if not delivered and retry_in_ms is None:
            _log.warning("webhook given up", extra=_fields(delivery))
        command = commands.settle(delivery.id, delivery.attempt, retry_in_ms=retry_in_ms, delivered=delivered)
        execute.run_sync(self._redis, command)


def _keep(pieces: Iterable[bytes], file: BinaryIO, *, by_s: float) -> tuple[str, int]:
    """The SHA-256 in hex, and how many bytes these are; `file` has them, and stands at the first. Raises
    `StoreUnavailable` where they come later than `by_s` of the monotonic clock."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
        if time.monotonic() > by_s:
            raise StoreUnavailable("The result was not read in time")
    length = file.tell()
    file.seek(0)
    return digest.hexdigest(), length


def _line(delivery: Delivery) -> _Line:
    return delivery.tenant, _target(delivery.url)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _fields(delivery: Delivery) -> dict[str, object]:
    return {"request": delivery.id, "attempt": delivery.attempt, "target": _target(delivery.url)}
