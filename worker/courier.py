"""The CPU process: `python -m worker.courier` delivers webhooks, rescues requests and deletes expired files.

The only place that wires its parts; never loads torch. Exit status 0 after SIGTERM, 2 for a wrong setting.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from shared import egress, logs
from shared.errors import WrongSetting
from shared.files.base import StoreUnavailable
from shared.files.open import open_store
from shared.heaps import share_heaps
from shared.queue.connect import open_sync
from shared.settings import load
from shared.wire.webhook import load_or_create_keys
from worker.binding import bind
from worker.pidfile import pid_file
from worker.rescuer import EVERY_S, Rescuer
from worker.rounds import Rounds
from worker.settings import CourierSettings
from worker.sweeps import Sweep
from worker.webhooks import Terms, Webhooks

_log = logging.getLogger(__name__)
_WRONG_SETTING: Final = 2
_LOOK_EVERY_S: Final = 0.25


class Courier:
    """Raises `WrongSetting` and `StoreUnavailable` where it cannot work; waits for a Redis that is away, or for `stop`:
    then it must not be started."""

    def __init__(self, settings: CourierSettings, stop: threading.Event) -> None:
        self._redis = open_sync(settings.redis_url)
        store = open_store(settings)
        bind(self._redis, store, stop=stop)
        terms = Terms(
            timeout_s=settings.webhook_timeout_s,
            retry_s=settings.webhook_retry_s,
            threads=settings.courier_concurrency,
            allow=egress.Allow.parse(settings.egress_allow),
        )
        self._webhooks = Webhooks(
            self._redis, store, settings.data_dir, load_or_create_keys(settings.webhook_keys_dir), terms
        )
        deliveries = Rounds("webhooks", self._webhooks.round, every_s=_LOOK_EVERY_S)
        self._webhooks.done = deliveries.hurry
        rescuer = Rescuer(self._redis, retention_s=settings.retention_s)
        self._rounds = [
            deliveries,
            Rounds("rescuer", rescuer.round, every_s=EVERY_S, jitter=0.2),
            Rounds("sweep", Sweep(self._redis, store).round, every_s=settings.sweep_s, jitter=0.2),
        ]

    def start(self) -> None:
        for rounds in self._rounds:
            rounds.start()

    def close(self) -> None:
        """Returns when what was under way is done."""
        for rounds in self._rounds:
            rounds.stop()
        self._webhooks.close()
        self._redis.close()


def main() -> int:
    """Until SIGTERM or SIGINT."""
    share_heaps()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setting(stop))
    logs.configure("courier")
    try:
        settings = load(CourierSettings)
        with pid_file(settings.data_dir, "courier"):
            courier = Courier(settings, stop)
            if not stop.is_set():
                courier.start()
                _log.info("ready")
            while not stop.is_set():  # not `wait`: nothing would wake this thread if another one got the signal
                time.sleep(_LOOK_EVERY_S)
            courier.close()
    except WrongSetting as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - for the one who started it
        return _WRONG_SETTING
    except StoreUnavailable:
        _log.critical("the file store cannot be used", exc_info=True)
        return 1
    return 0


def _setting(stop: threading.Event) -> Callable[[int, object], None]:
    return lambda _number, _frame: stop.set()


if __name__ == "__main__":
    sys.exit(main())
