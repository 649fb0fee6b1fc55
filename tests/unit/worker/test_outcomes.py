"""Whatever went wrong, the caller learns what is theirs to know, and nothing else."""

import json

import pytest

from shared.errors import Cancelled, Error, InvalidInput, OutOfMemory, Problem, ServiceUnavailable, TotalTimeout
from shared.files.base import StoreUnavailable
from shared.queue.states import State
from worker.outcomes import of_error, retry_delay_ms


@pytest.mark.parametrize(
    ("error", "state", "status", "error_type", "retryable"),
    [
        (Cancelled(), State.CANCELLED, 499, "client_cancelled", False),
        (TotalTimeout(), State.FAILED, 504, "request_timeout", False),
        (OutOfMemory(), State.FAILED, 503, "runner_server_error", True),
        (StoreUnavailable(), State.FAILED, 503, "runner_connection_error", True),
        (ServiceUnavailable(), State.FAILED, 503, "runner_connection_error", True),
        (Error("a kind that nobody thought of"), State.FAILED, 500, "runner_server_error", False),
        (ValueError("/secret/path"), State.FAILED, 500, "runner_server_error", False),
        (MemoryError(), State.FAILED, 500, "runner_server_error", False),
    ],
)
def test_every_error_has_its_outcome(
    error: Exception, state: State, status: int, error_type: str, retryable: bool
) -> None:
    outcome = of_error(error, "id")
    assert (outcome.state, outcome.status, outcome.error_type) == (state, status, error_type)
    assert outcome.retryable is retryable
    assert json.loads(outcome.body)["error_type"] == error_type
    assert "secret" not in outcome.body
    assert "nobody" not in outcome.body


def test_invalid_input_lists_its_problems() -> None:
    problem = Problem(("body", "image_url"), "It is no picture", "image_load_error")
    outcome = of_error(InvalidInput(problem), "id")
    assert (outcome.state, outcome.status, outcome.retryable) == (State.FAILED, 422, False)
    [item] = json.loads(outcome.body)["detail"]
    assert (item["loc"], item["type"]) == (["body", "image_url"], "image_load_error")
    assert outcome.error == "image_url: It is no picture"


def test_what_nobody_expected_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    of_error(ValueError("/secret/path"), "id")
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.__dict__["request"] == "id"


def test_retries_wait_longer_each_time_and_never_too_long() -> None:
    delays = [retry_delay_ms(number) for number in range(1, 11)]
    assert delays == sorted(delays)
    assert delays[0] == 500
    assert delays[-1] == 30_000
