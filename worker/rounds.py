"""Something done again and again on a thread of its own: renewals, rescues, sweeps. Knows nothing of what it is."""

import logging
import random
import threading
from collections.abc import Callable

from shared.errors import ServiceUnavailable

_log = logging.getLogger(__name__)


class Rounds:
    """Calls `work` every `every_s` seconds until stopped, the first time at once. A round that fails is logged and
    followed by the next, after `again_s` if that is sooner. `jitter` is a share of `every_s`, so that many processes
    that started together drift apart.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        every_s: float,
        again_s: float | None = None,
        jitter: float = 0.0,
    ) -> None:
        self._work = work
        self._every_s = every_s
        self._again_s = every_s if again_s is None else min(again_s, every_s)
        self._jitter = jitter
        self._name = name
        self._wake = threading.Event()
        self._stopping = False
        self._away = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """The next round begins now."""
        self._wake.set()

    def stop(self) -> None:
        """Returns when the round under way is over."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            wait_s = self._every_s * random.uniform(1 - self._jitter, 1 + self._jitter)
            if not self._once():
                wait_s = self._again_s
            self._wake.wait(wait_s)
            self._wake.clear()

    def _once(self) -> bool:
        try:
            self._work()
        except ServiceUnavailable:
            if not self._away:
                _log.warning("%s: Redis does not answer", self._name)
            self._away = True
            return False
        except Exception:  # noqa: BLE001 - an edge: the thread must outlive whatever went wrong in one round
            _log.exception("%s: a round failed", self._name)
            return False
        if self._away:
            _log.warning("%s: Redis answers again", self._name)
        self._away = False
        return True
