"""The typed seam of Celery: its app, how it is configured, which of its signals we hear.

Celery brings doorbells and nothing else. A message is acknowledged as soon as it is received and carries no state, so
nothing is lost with one, and a second one finds nothing to do; see shared/queue/doorbell.py.
"""

import socket
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from celery import Celery, signals  # pyright: ignore[reportMissingTypeStubs]
from kombu.asynchronous import get_event_loop  # pyright: ignore[reportUnknownVariableType]
from kombu.entity import Queue

from shared.queue import keys
from worker import reconnect

_SETTLED_S: Final = 0.005

CONFIGURATION: Final[dict[str, object]] = {
    "task_acks_late": False,
    "task_ignore_result": True,
    "task_default_queue": keys.DOORBELL,
    "task_queues": (Queue(keys.DOORBELL),),
    "accept_content": ["json"],
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "worker_enable_prefetch_count_reduction": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "broker_transport_options": {
        "ack_emulation": False,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "retry_on_timeout": False,
    },
}
"""`broker_url` comes on top. Without a socket_timeout a half-open connection would block for ever. With ack_emulation
kombu would write down each doorbell as one to be restored: two writes more, every doorbell twice after a lost
connection, and the end of the worker where Redis is full. Nor may the worker end because Redis refuses a command."""


class Broker:
    """Celery, as far as this product uses it. `broker_url` is asked when the worker starts, not before."""

    def __init__(self, broker_url: Callable[[], str], answer: Callable[[], object]) -> None:
        self.app: Any = Celery("kolors")
        self.app.add_defaults(lambda: {**CONFIGURATION, "broker_url": _verified(broker_url())})

        def image_generate() -> None:
            answer()

        self.app.task(name=keys.TASK, ignore_result=True)(image_generate)
        reconnect.install()

    def run(self, *, name: str, concurrency: int) -> int:
        """The worker, until a signal ends it. Returns its exit status. Only in the main thread."""
        worker: Any = self.app.Worker(
            hostname=f"{name}@{socket.gethostname()}",
            pool_cls="threads",
            concurrency=concurrency,
            queues=[keys.DOORBELL],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
        return int(worker.exitcode or 0)  # the command line's own way loses it

    @staticmethod
    def before_start(work: Callable[[], object]) -> None:
        """`work` runs before anything is consumed. Only `SystemExit` stops the start: Celery logs other errors."""
        _connect("worker_init", work)

    @staticmethod
    def on_shutdown(work: Callable[[], object]) -> None:
        """`work` runs inside the handler of SIGTERM or SIGINT: it must return at once."""
        _connect("worker_shutting_down", work)

    @staticmethod
    def keep_our_logs(configure: Callable[[], object]) -> None:
        """Celery leaves logging alone and calls `configure` instead."""
        _connect("setup_logging", configure)

    @staticmethod
    def fetch_on() -> None:
        """A thread that gets free fetches the next message now: the consumer itself looks only once a second."""
        _connect("task_postrun", _wake_consumer)


def _verified(url: str) -> str:
    """The same address. Where it says nothing of certificates kombu would trust any; Redis' own client never does."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query):
        return url
    options = "&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))
    return parts._replace(query=options).geturl()


def _connect(signal: str, work: Callable[[], object]) -> None:
    def heard(**_: object) -> None:
        work()

    getattr(signals, signal).connect(heard, weak=False)


def _wake_consumer() -> None:
    hub: Any = get_event_loop()
    if hub is not None:
        # Called just before the task counts as done; by the second look it does.
        hub.call_soon(lambda: hub.call_later(_SETTLED_S, _nothing))


def _nothing() -> None:
    return
