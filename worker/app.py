"""The GPU process: `python -m worker.app`, or `celery -A worker.app worker --pool threads --concurrency N -Q image
--without-gossip --without-mingle --without-heartbeat`. The only place that wires its parts.

Exit statuses: 0 after SIGTERM, 2 for a wrong setting (starting it again would not help), 70 for a process that can
only be helped by a fresh one, 1 for anything else.
"""

import logging
import math
import os
import secrets
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from shared import logs
from shared.egress import Allow
from shared.errors import WrongSetting
from shared.files.open import open_store
from shared.heaps import share_heaps
from shared.queue.connect import open_sync
from shared.settings import load
from worker.aside import Aside
from worker.binding import bind
from worker.broker import Broker
from worker.context import Context
from worker.engine import caps
from worker.engine.caps import Caps
from worker.engine.engine import Engine
from worker.pidfile import pid_file
from worker.settings import WorkerSettings
from worker.station import STANDARD_SIDE_PX, Station
from worker.watchdog import EXIT_STATUS

_log = logging.getLogger(__name__)
_REDIS_TIMEOUT_S: Final = 2.0
"""Below what lies between the fence and the end of a lease."""
_FATAL_GRACE_S: Final = 5.0
_WRONG_SETTING: Final = 2
FAKE: Final = "fake"


class Worker:
    """The Celery app is there at once; settings, engine and model come when the worker starts."""

    def __init__(self) -> None:
        self.broker = Broker(lambda: _settings().redis_url, self._answer)
        self.broker.keep_our_logs(_configure_logs)
        self.broker.before_start(self._start)
        self.broker.on_shutdown(self._shut_down)
        self.broker.fetch_on()
        self._station: Station | None = None

    def run(self) -> int:
        """Until a signal ends it."""
        settings = _settings()
        _configure_logs()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)  # until Celery hears them itself, when everything is there
        with pid_file(settings.data_dir, settings.worker_name):
            try:
                return self.broker.run(name=settings.worker_name, concurrency=settings.concurrency)
            finally:
                if self._station is not None:
                    self._station.drain(settings.grace_s)
                    self._station.close()
                    _log.info("stopped")

    def _start(self) -> None:
        share_heaps()
        _configure_logs()  # Celery's command line asks for it only later
        try:
            self._station = compose(_settings())
        except WrongSetting as error:
            raise SystemExit(_refuse(error)) from error
        except Exception as error:
            _log.critical("the worker cannot start", exc_info=error)
            raise SystemExit(1) from error
        self._station.start()
        _log.info("ready")

    def _answer(self) -> None:
        if self._station is not None:
            self._station.answer()

    def _shut_down(self) -> None:
        station = self._station
        if station is None or station.draining:
            return

        def drain() -> None:
            if not station.drain(station.context.settings.grace_s):
                _log.warning("some threads are stuck; their requests are back in the queue")
                _end(0)

        threading.Thread(target=drain, name="drain", daemon=True).start()


def compose(settings: WorkerSettings) -> Station:
    """Everything ready to serve: the store is the API's, the model is loaded, the engine runs.

    Raises `WrongSetting`, `StoreUnavailable` and whatever loading a model may raise; waits for a Redis that is away.
    """
    allow = Allow.parse(settings.egress_allow)
    redis = open_sync(settings.redis_url, timeout_s=_REDIS_TIMEOUT_S)
    store = open_store(settings)
    bind(redis, store)
    stations: list[Station] = []

    def on_fatal(_: Exception) -> None:
        for station in stations:
            station.restart(_FATAL_GRACE_S, EXIT_STATUS)

    # Watching over a step costs a new thread each time: nothing beside a real step, much beside a fake one.
    hang_s = None if settings.kolors_model == FAKE else settings.hang_s
    runner, device = open_runner(settings)
    if settings.kolors_model != FAKE:
        know_caps(settings, runner)
        side = min(STANDARD_SIDE_PX, math.isqrt(settings.max_pixels) // 8 * 8)
        standard = runner.key(side, side, precise=False)
        runner.warm_up({standard: runner.slots(standard)})
    engine: Engine[Any, Any] = Engine(runner, previews_s=settings.previews_s, hang_s=hang_s, on_fatal=on_fatal)
    engine.start()
    context = Context(
        settings=settings,
        worker=f"{settings.worker_name}@{settings.host}-{secrets.token_hex(4)}",
        redis=redis,
        store=store,
        allow=allow,
        engine=engine,
        device=device,
        aside=Aside(settings.concurrency, longest_s=settings.download_timeout_s + settings.decode_timeout_s),
        encoders=ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="encode"),
    )
    stations.append(Station(context, end=_end))
    return stations[0]


def open_runner(settings: WorkerSettings) -> tuple[Any, str]:
    """The model behind the engine's `Runner` protocol, and the device it is on. Torch is imported for real models only.

    Raises `WrongSetting` for a model, device or precision that cannot be had.
    """
    if settings.kolors_model == FAKE:
        from worker.engine.fake import FakeRunner

        step_s = settings.fake_step_s
        return FakeRunner(pace=lambda: time.sleep(step_s)) if step_s else FakeRunner(), "none"
    from worker.engine.runner import TorchRunner
    from worker.model.checkpoint import Wanted, open_checkpoint
    from worker.model.lossy import has_eight_bits
    from worker.model.tuning import keep_compiled, tuned_for

    wanted = Wanted(
        source=settings.kolors_model,
        cache=settings.model_cache,
        revision=settings.kolors_revision,
        device=settings.device,
        dtype=settings.dtype,
        safety_checker=settings.safety_checker,
        index=settings.worker_index,
        offline=settings.model_offline,
    )
    checkpoint = open_checkpoint(wanted)
    device = checkpoint.device.torch
    tuning = tuned_for(
        device,
        compile=None if settings.compile == "auto" else settings.compile,
        graphs=settings.cuda_graphs,
        fixed_rows=settings.fixed_rows is not None,
        lossy_fp8=settings.lossy_fp8,
        lossy_step_cache=settings.lossy_step_cache or 1,
    )
    if tuning.lossy_fp8 and not has_eight_bits(device):
        raise WrongSetting("LOSSY_FP8", f"{checkpoint.device.name} has no 8-bit products")
    if tuning.lossy:
        _log.warning("lossy (%s): pictures are not what the model makes by itself", tuning.lossy)
    if tuning.compile != "off":
        _log.info("what is compiled is kept in %s", keep_compiled(settings.compile_cache, checkpoint.device.name))
    return TorchRunner(checkpoint, fixed_rows=settings.fixed_rows, tuning=tuning), str(device)


def know_caps(settings: WorkerSettings, runner: Any, *, anew: bool = False) -> Caps | None:
    """Gives the runner its measured batch caps: those kept on disk; where there are none, or `anew`, measured now if
    the settings say so. None: estimated."""
    known = None if anew else caps.load(settings.caps_dir, runner.made_for)
    if known is None and (anew or settings.calibrate):
        sides = [side for side in caps.SIDES if side**2 <= settings.max_pixels] or caps.SIDES[:1]
        known = Caps(runner.made_for, caps.measure(runner, sides))
        runner.forget()  # most of the shapes that were measured are no request's
        _log.info("batch caps measured, kept in %s", caps.save(settings.caps_dir, known))
    elif known is None:
        _log.info("batch caps are estimated: `make calibrate` measures them")
    runner.caps = known
    return known


def _configure_logs() -> None:
    """Without Celery's two lines per doorbell, which say nothing about a request."""
    logs.configure("worker")
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _settings() -> WorkerSettings:
    """Ends the process, with one line, where they are of no use: Celery's command line would show a traceback."""
    try:
        return load(WorkerSettings)
    except WrongSetting as error:
        raise SystemExit(_refuse(error)) from None


def _refuse(error: WrongSetting) -> int:
    print(error.message, file=sys.stderr)  # noqa: T201 - logging may not be there yet
    return _WRONG_SETTING


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _end(status: int) -> None:
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


worker = Worker()
app = worker.broker.app

if __name__ == "__main__":
    _end(worker.run())  # at once: taking torch apart in order takes seconds of a drain
