"""The synchronous origin over the wire: it waits, it answers, and who hangs up takes the request back."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest

from api.settings import ApiSettings
from shared.queue.connect import open_sync
from shared.queue.records import Attempt
from shared.queue.states import State
from tests.integration.api.live import live
from tests.integration.api.worker import Hand

RUN = "/run/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
KEY = {"Authorization": "Key id:secret"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _claim(redis_url: str, hand: Hand) -> Attempt:
    redis = open_sync(redis_url)
    _soon(lambda: redis.execute_command("ZCARD", "kolors:queue") == 1)
    redis.close()
    return hand.claim()


def _run(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(RUN, json=INPUT | fields)


def test_a_run_returns_the_result(client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor) -> None:
    running: Future[httpx.Response] = pool.submit(_run, client)
    attempt = _claim(redis_url, hand)
    hand.report(attempt, 1)
    hand.finish(attempt, '{"seed":5}')
    answer = running.result(20)
    assert (answer.status_code, answer.text) == (200, '{"seed":5}')
    assert answer.headers["x-fal-request-id"] == attempt.held.id
    assert client.get(f"/fal-ai/kolors/requests/{attempt.held.id}").text == '{"seed":5}'


def test_invalid_input_is_answered_directly(client: httpx.Client) -> None:
    answer = client.post(RUN, json={"prompt": "p"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "image_url"]


def test_the_host_alone_makes_a_run(client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(client.post, RUN.removeprefix("/run"), json=INPUT, headers={"Host": "fal.run"})
    attempt = _claim(redis_url, hand)
    assert attempt.base == "http://fal.run"
    hand.finish(attempt)
    assert running.result(20).json() == {"seed": 1}


def test_the_proxy_leads_to_a_run(client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor) -> None:
    target = {"x-fal-target-url": "https://fal.run/fal-ai/kolors/image-to-image"}
    running = pool.submit(client.post, "/api/fal/proxy", json=INPUT, headers=target)
    attempt = _claim(redis_url, hand)
    assert attempt.base == str(client.base_url).rstrip("/")
    hand.finish(attempt)
    assert running.result(20).json() == {"seed": 1}


def test_who_hangs_up_cancels(base: str, hand: Hand, redis_url: str, pool: ThreadPoolExecutor) -> None:
    caller = httpx.Client(base_url=base, headers=KEY, trust_env=False)
    hung_up = threading.Event()

    def call() -> None:
        with pytest.raises(httpx.ReadTimeout):
            caller.post(RUN, json=INPUT, timeout=httpx.Timeout(30, read=1))
        caller.close()
        hung_up.set()

    running = pool.submit(call)
    attempt = _claim(redis_url, hand)
    assert hung_up.wait(20)
    running.result(20)
    _soon(lambda: hand.report(attempt, 1) == "cancel")
    hand.finish(attempt)
    assert hand.state(attempt.held.id) is State.CANCELLED


def test_who_only_looked_on_cancels_nothing(
    client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor
) -> None:
    key = {"Idempotency-Key": "k"}
    id_ = client.post(RUN.removeprefix("/run"), json=INPUT, headers=key).json()["request_id"]
    attempt = _claim(redis_url, hand)

    with pytest.raises(httpx.ReadTimeout):
        client.post(RUN, json=INPUT, headers=key, timeout=httpx.Timeout(30, read=0.5))
    looking = pool.submit(client.post, RUN, json=INPUT, headers=key)
    assert hand.report(attempt, 1) == "kept"
    hand.finish(attempt)

    assert looking.result(20).status_code == 200
    assert looking.result(20).headers["x-fal-request-id"] == id_


def test_who_hangs_up_and_calls_again_with_the_same_key_finds_the_request(
    client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor
) -> None:
    key = {"Idempotency-Key": "k"}
    with pytest.raises(httpx.ReadTimeout):
        client.post(RUN, json=INPUT, headers=key, timeout=httpx.Timeout(30, read=1))
    again = pool.submit(client.post, RUN, json=INPUT, headers=key)
    attempt = _claim(redis_url, hand)
    assert hand.report(attempt, 1) == "kept"
    hand.finish(attempt)
    assert again.result(20).status_code == 200

    assert client.post(RUN, json=INPUT, headers=key).headers["x-fal-request-id"] == attempt.held.id


def test_a_key_does_not_bring_back_what_was_cancelled(
    client: httpx.Client, redis_url: str, pool: ThreadPoolExecutor
) -> None:
    key = {"Idempotency-Key": "k"}
    running = pool.submit(client.post, RUN, json=INPUT, headers=key)
    redis = open_sync(redis_url)
    _soon(lambda: redis.execute_command("ZCARD", "kolors:queue") == 1)
    (id_,) = cast("list[str]", redis.execute_command("ZRANGE", "kolors:queue", 0, -1))
    redis.close()
    client.put(f"/fal-ai/kolors/requests/{id_}/cancel").raise_for_status()

    for answer in (running.result(20), client.post(RUN, json=INPUT, headers=key)):
        assert (answer.status_code, answer.json()["error_type"]) == (499, "client_cancelled")


def test_a_run_waits_no_longer_than_allowed(keyed: ApiSettings, hand: Hand) -> None:
    with live(keyed.model_copy(update={"sync_timeout_s": 0.2})) as url:
        answer = httpx.post(url + RUN, json=INPUT, headers=KEY, trust_env=False)
    assert answer.status_code == 504
    assert answer.json()["error_type"] == "request_timeout"
    assert answer.headers["x-fal-request-timeout-type"] == "user"  # or JavaScript's client would run it three times
    assert hand.state(answer.headers["x-fal-request-id"]) is State.CANCELLED


def test_a_run_ends_at_shutdown(keyed: ApiSettings, hand: Hand, redis_url: str, pool: ThreadPoolExecutor) -> None:
    with live(keyed) as url:
        running = pool.submit(httpx.post, url + RUN, json=INPUT, headers=KEY, trust_env=False)
        attempt = _claim(redis_url, hand)
    answer = running.result(20)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert hand.report(attempt, 1) == "cancel"
    hand.finish(attempt)


def test_a_run_that_fails_answers_as_its_result_would(
    client: httpx.Client, hand: Hand, redis_url: str, pool: ThreadPoolExecutor
) -> None:
    running = pool.submit(_run, client)
    attempt = _claim(redis_url, hand)
    hand.finish(attempt, '{"detail":"x"}', state=State.FAILED, status=500, error="x", error_type="runner_server_error")
    answer = running.result(20)
    assert (answer.status_code, answer.json()) == (500, {"detail": "x"})
    assert answer.headers["x-fal-error-type"] == "runner_server_error"


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("POST", f"{RUN}/stream", 404, "Path /stream not found"),
        ("GET", f"{RUN}/realtime", 404, "Path /realtime not found"),
        ("GET", RUN, 405, "Method Not Allowed"),
        ("POST", "/run/fal-ai/flux/dev", 404, "Application 'flux' of 'fal-ai' not found"),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, status: int, detail: str) -> None:
    answer = client.request(method, path, json=INPUT)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
