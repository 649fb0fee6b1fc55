"""The GPU process at work: its bench and the threads that keep it honest, from start to drain.

Knows nothing of Celery: `answer` is what a doorbell means. Made by `worker.app`.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from shared.errors import ServiceUnavailable
from shared.queue import pokes
from shared.queue.records import Presence
from worker.admission import Admission
from worker.context import Context
from worker.leases import Leases
from worker.reports import Reports
from worker.rescuer import EVERY_S, Rescuer
from worker.rounds import Rounds
from worker.tasks import Bench, serve
from worker.watchdog import EXIT_STATUS, Watchdog

_log = logging.getLogger(__name__)
STANDARD_SIDE_PX: Final = 1024
"""Of the pictures that most want: what may be claimed is counted in them, and their steps are built first."""
_LEAVING_S: Final = 5.0
_WATCH_EVERY_S: Final = 5.0


class Station:
    """`end` ends the process at once with a status: for the cases in which nothing else helps."""

    def __init__(self, context: Context, *, end: Callable[[int], object]) -> None:
        settings = context.settings
        self.context = context
        self.draining = False
        self._end = end
        self._heard_s = time.monotonic()
        self._drained = threading.Lock()
        self._stats = context.engine.stats()
        self._stop_listening = threading.Event()
        self.admission = Admission(
            lambda: context.engine.capacity_px(STANDARD_SIDE_PX, STANDARD_SIDE_PX),
            read_ahead_px=settings.read_ahead_px,
            seats=settings.concurrency,
        )
        self.leases = Leases(
            context.redis,
            self.presence,
            lease_ms=settings.lease_ms,
            fence_ms=settings.fence_ms,
            retention_s=settings.retention_s,
        )
        self.reports = Reports(context.redis, self.leases.heed)
        self._bench = Bench(context, self.admission, self.leases, self.reports)
        rescuer = Rescuer(context.redis, retention_s=settings.retention_s)
        watchdog = Watchdog(
            context.redis,
            busy=lambda: self.draining or self.leases.held() > 0,
            heard_s=lambda: self._heard_s,
            stall_s=settings.stall_s,
            end=end,
        )
        self._renewals = Rounds("leases", self.leases.renew, every_s=settings.renew_ms / 1000, again_s=0.5)
        self._others = [
            Rounds("rescuer", rescuer.round, every_s=EVERY_S, jitter=0.2),
            Rounds("watchdog", watchdog.round, every_s=min(_WATCH_EVERY_S, settings.stall_s / 4)),
            Rounds("threads", self.look_aside, every_s=_WATCH_EVERY_S),
        ]
        self._ear = threading.Thread(target=self._listen, name="cancels", daemon=True)

    def start(self) -> None:
        self._renewals.start()
        self.reports.start()
        self._ear.start()
        for rounds in self._others:
            rounds.start()

    def answer(self) -> int:
        """A doorbell rang. Returns how many requests were in hand."""
        self._heard_s = time.monotonic()
        return serve(self._bench)

    def presence(self) -> Presence:
        context = self.context
        before, self._stats = self._stats, context.engine.stats()
        return Presence(
            worker=context.worker,
            model=context.settings.kolors_model,
            device=context.device,
            ready=not self.draining,
            draining=self.draining,
            running=self.leases.held(),
            free_px=0 if self.draining else self.admission.free_px(),
            px_per_s=context.engine.rate(),
            concurrency=context.settings.concurrency,
            busy=self._stats.busy_since(before),
        )

    def drain(self, grace_s: float) -> bool:
        """Claims nothing more; what is not done in time goes back to the queue. True when all threads are free."""
        with self._drained:
            if not self.draining:
                _log.info("draining: %d requests in hand", self.leases.held())
            self.draining = True
            self.admission.close()
            self._renewals.hurry()
            if not self.admission.empty(grace_s):
                _log.warning("%d requests went back to the queue", self.leases.release())
            return self.admission.empty(_LEAVING_S)

    def close(self) -> None:
        """After `drain`. Returns when every thread of ours has ended."""
        self._stop_listening.set()
        for rounds in (*self._others, self._renewals):
            rounds.stop()
        self.reports.stop()
        self._ear.join()
        stats = self.context.engine.stats()
        self.context.engine.close(wait=False)
        shares = "%d steps, %.1f%% of the time at work on them, %.1f%% of a step outside of the model"
        _log.info(f"engine: {shares}", stats.ticks, 100 * stats.busy_share, 100 * stats.host_share)
        self.context.aside.close()
        self.context.encoders.shutdown(wait=False, cancel_futures=True)
        self.context.redis.close()

    def look_aside(self) -> None:
        """Drains and starts anew where hanging decoders may leave no thread for the next picture."""
        if self.context.aside.exhausted and not self.draining:
            _log.critical("too many pictures hang in their decoders: starting anew")
            self.restart(self.context.settings.grace_s, EXIT_STATUS)

    def restart(self, grace_s: float, status: int) -> None:
        """From a thread of its own: drains, then ends the process, so that a fresh one takes over."""

        def leave() -> None:
            self.drain(grace_s)
            self._end(status)

        threading.Thread(target=leave, name="restart", daemon=True).start()

    def _listen(self) -> None:
        while not self._stop_listening.is_set():
            try:
                for id in pokes.cancels(self.context.redis, self.context.worker, stop=self._stop_listening):
                    self.leases.cancel(id)
            except ServiceUnavailable:
                self._stop_listening.wait(1.0)
