"""A call that is ended by another thread ends at once, whatever it waits for."""

import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from shared.egress import Allow, Fetched, FetchFailed, Stop, fetch
from tests.integration.egress.web import quiet_server

LOOPBACK = Allow.parse("127.0.0.1, slow.test")
DEADLINE_S = 20.0
"""Of what should take moments; the calls themselves would wait for much longer."""


@contextmanager
def calling(url: str, stop: Stop) -> Generator[Future[Fetched]]:
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(fetch, url, max_bytes=1000, timeout_s=600, allow=LOOPBACK, stop=stop)
        stop.make()


@pytest.mark.parametrize(
    "after", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes."], ids=["an answer", "the rest of it"]
)
def test_while_it_waits_for(after: bytes) -> None:
    stop = Stop()
    with quiet_server(after) as (address, called, gone), calling(f"http://{address}/", stop) as call:
        assert called.wait(DEADLINE_S)
        stop.make()
        assert isinstance(call.exception(DEADLINE_S), FetchFailed)
        assert gone.wait(DEADLINE_S)


def test_while_it_waits_for_the_other_sides_tls() -> None:
    stop = Stop()
    with quiet_server(b"") as (address, called, gone), calling(f"https://{address}/", stop) as call:
        assert called.wait(DEADLINE_S)
        stop.make()
        assert isinstance(call.exception(DEADLINE_S), FetchFailed)
        assert gone.wait(DEADLINE_S)


def test_not_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread cannot be ended: whoever could stop waiting for it could leave any number of them behind."""
    asked, on = threading.Event(), threading.Event()
    resolve: Callable[..., Any] = socket.getaddrinfo

    def hang(host: str, *rest: Any, **options: Any) -> Any:
        if host != "slow.test":
            return resolve(host, *rest, **options)
        asked.set()
        on.wait(DEADLINE_S)
        return resolve("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    stop = Stop()
    with calling("http://slow.test:9/", stop) as call:
        assert asked.wait(DEADLINE_S)
        stop.make()
        with pytest.raises(TimeoutError):
            call.result(0.3)
        on.set()
        assert isinstance(call.exception(DEADLINE_S), FetchFailed)


def test_what_is_stopped_before_it_begins_calls_nobody() -> None:
    stop = Stop()
    stop.make()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(FetchFailed):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/", max_bytes=1, timeout_s=9, allow=LOOPBACK, stop=stop)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_to_stop_what_is_over_does_nothing() -> None:
    stop = Stop()
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nten bytes."
    with quiet_server(whole) as (address, _, gone), calling(f"http://{address}/", stop) as call:
        assert call.result(DEADLINE_S).content == b"ten bytes."
        assert gone.wait(DEADLINE_S)
        stop.make()
        stop.make()
