"""Progress and log lines of running requests, on their way to the queue.

Owns the thread that sends them, so that the engine never waits for a line. At most five a second for each request:
the newest replaces one that is not sent yet. The last one goes with the attempt's outcome.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from shared.errors import ServiceUnavailable
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis
from shared.queue.records import Held, Lease, Note, Preview
from worker import previews

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.05
"""Also how long a request's first line waits: one that is done sooner is spared all lines but its last."""


@dataclass(slots=True)
class _Line:
    """What is to be said about one request, and when at the earliest (monotonic)."""

    message: Callable[[], str] | None = None
    step: int | None = None
    steps: int | None = None
    preview: tuple[int, Callable[[], Image.Image]] | None = None
    due_s: float = 0.0

    def note(self) -> Note:
        return Note(self.step, self.steps, self.message and self.message())


class Reports:
    """`heed` learns what each reply says of the lease. `every_s` is the least time between two lines of a request."""

    def __init__(self, redis: SyncRedis, heed: Callable[[Held, Lease], None], *, every_s: float = 0.2) -> None:
        self._redis = redis
        self._heed = heed
        self._every_s = every_s
        self._changed = threading.Condition()
        self._lines: dict[Held, _Line] = {}
        self._sending: Held | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def begin(self, held: Held) -> None:
        """From now on `say` has an effect for it."""
        with self._changed:
            if not self._lines:
                self._changed.notify_all()
            self._lines[held] = _Line(due_s=time.monotonic() + _LOOK_EVERY_S)

    def say(
        self,
        held: Held,
        message: Callable[[], str],
        *,
        step: int | None = None,
        steps: int | None = None,
        preview: Callable[[], Image.Image] | None = None,
    ) -> None:
        """Returns at once; text and preview are made when they are sent, if they ever are."""
        with self._changed:
            line = self._lines.get(held)
            if line is not None:
                line.message, line.step, line.steps = message, step, steps
                if preview is not None:
                    line.preview = step or 0, preview

    def close(self, held: Held) -> Note | None:
        """Forgets the request. Nothing is sent afterwards; what was not sent yet is given back."""
        with self._changed:
            line = self._lines.pop(held, None)
            self._changed.wait_for(lambda: self._sending != held)
        return line.note() if line is not None and line.message is not None else None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._stopping)
                if self._stopping:
                    return
                found = self._next()
                if found is None:
                    # Not notified of every line: waking this thread would cost more than the line.
                    self._changed.wait(_LOOK_EVERY_S)
                    continue
                self._sending = found[0]
            try:
                self._send(*found)
            except Exception:  # noqa: BLE001 - an edge: the thread must outlive one bad line
                _log.exception("a report failed", extra={"request": found[0].id})
            finally:
                with self._changed:
                    self._sending = None
                    self._changed.notify_all()

    def _next(self) -> tuple[Held, _Line] | None:
        """A copy of a line that is due; the request's next one is due later."""
        now_s = time.monotonic()
        for held, line in self._lines.items():
            if line.message is not None and line.due_s <= now_s:
                self._lines[held] = _Line(due_s=now_s + self._every_s)
                return held, line
        return None

    def _send(self, held: Held, line: _Line) -> None:
        """A line that cannot be sent is no reason to fail: the next one says more, and the leases notice."""
        with contextlib.suppress(ServiceUnavailable):
            if line.preview is not None:  # before the line, whose poke makes callers look
                self._show(held, *line.preview)
            self._heed(held, execute.run_sync(self._redis, commands.report(held, line.note())))

    def _show(self, held: Held, step: int, make: Callable[[], Image.Image]) -> None:
        try:
            url = previews.url(make())
        except Exception:  # noqa: BLE001 - the device may be full: the line is worth more than its picture
            _log.warning("no preview", extra={"request": held.id}, exc_info=True)
            return
        execute.run_sync(self._redis, commands.show(held, Preview(step, url)))
