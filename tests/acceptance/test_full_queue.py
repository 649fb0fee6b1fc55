"""While other work fills the queue: positions, lanes, and what may happen to a request before it is started."""

from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.harness.caller import ENDPOINT, Caller, arguments, cancelled, flooded
from tests.acceptance.harness.waiting import until


@pytest.fixture(scope="module", autouse=True)
def flood(caller: Caller) -> Iterator[list[str]]:
    with flooded(caller) as ids:
        yield ids


def test_position_counts_those_ahead(caller: Caller) -> None:
    ids = [caller.submit(arguments()) for _ in range(2)]
    bodies = [caller.status(id).json() for id in ids]
    cancelled(caller, *ids)

    assert [body["status"] for body in bodies] == ["IN_QUEUE", "IN_QUEUE"]
    assert bodies[1]["queue_position"] == bodies[0]["queue_position"] + 1


def test_low_waits_behind_all_normal(caller: Caller) -> None:
    low = caller.submit(arguments(), headers={"X-Fal-Queue-Priority": "low"})
    normal = caller.submit(arguments(), headers={"X-Fal-Queue-Priority": "normal"})
    positions = {id: caller.status(id).json()["queue_position"] for id in (low, normal)}
    cancelled(caller, low, normal)

    assert positions[normal] < positions[low]


def test_a_cancelled_one_is_over_at_once(caller: Caller) -> None:
    id = caller.submit(arguments())

    cancel, status, result = caller.cancel(id), caller.status(id), caller.result(id)

    assert (cancel.status_code, cancel.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")
    assert (result.status_code, result.headers["x-fal-error-type"]) == (499, "client_cancelled")
    assert result.json() == {"detail": "Request was cancelled", "error_type": "client_cancelled"}


def test_a_start_timeout_ends_it(caller: Caller) -> None:
    id = caller.submit(arguments(), headers={"X-Fal-Request-Timeout": "0.5"})

    result = caller.finish(id, within_s=15)

    assert result.status_code == 504
    assert result.headers["x-fal-request-timeout-type"] == "user"
    assert result.json()["error_type"] == "request_timeout"


def test_a_queue_longer_than_allowed_refuses(caller: Caller) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", params={"fal_max_queue_length": 1}, json=arguments())

    assert answer.status_code == 429


def test_a_synchronous_caller_who_leaves_frees_his_place(caller: Caller, flood: list[str]) -> None:
    before = caller.submit(arguments(), headers={"X-Fal-Queue-Priority": "low"})
    position = caller.status(before).json()["queue_position"]

    with pytest.raises(httpx.ReadTimeout):
        caller.run(arguments(), timeout=1.0)

    until(
        lambda: caller.status(before).json()["queue_position"] == position,
        within_s=10,
        what="the place in the queue is free again",
    )
    cancelled(caller, before)
