"""The table of errors, and the headers that clients decide by."""

import json

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import TABLE, answer, outcome_headers
from shared import errors
from shared.files.base import FileMissing, StoreUnavailable

NO = {"detail": "no", "error_type": "bad_request"}
AWAY = {"detail": "away", "error_type": "runner_scheduling_failure"}
STORE_AWAY = AWAY | {"detail": "The file store cannot answer right now."}


@pytest.mark.parametrize(
    ("error", "status", "body", "headers"),
    [
        (errors.BadCredentials(), 401, {"detail": "invalid key credentials"}, {}),
        (errors.UnknownRequest(), 404, {"status": "NOT_FOUND"}, {}),
        (errors.UnknownPath("Path /x not found"), 404, {"detail": "Path /x not found"}, {}),
        (errors.BadRequest("no"), 400, NO, {"x-fal-error-type": "bad_request"}),
        (errors.TooLarge("big"), 413, {"detail": "big", "error_type": "bad_request"}, {}),
        (errors.QueueFull("full"), 429, {"detail": "full"}, {"retry-after": "1", "x-fal-needs-retry": "1"}),
        (
            errors.TooManyQueued("enough"),
            429,
            {"detail": "enough", "error_type": "concurrent_requests_limit"},
            {
                "retry-after": "1",
                "x-fal-needs-retry": "1",
                "x-fal-error-type": "concurrent_requests_limit",
            },
        ),
        (errors.IdempotencyConflict("other"), 422, {"detail": "other", "error_type": "bad_request"}, {}),
        (
            errors.ServiceUnavailable("away"),
            503,
            AWAY,
            {"retry-after": "1", "x-fal-retryable": "true"},
        ),
        (StoreUnavailable("/srv/files is away"), 503, STORE_AWAY, {"retry-after": "1"}),
        (FileMissing("gone"), 404, {"detail": "gone"}, {}),
        (
            errors.TotalTimeout("late"),
            504,
            {"detail": "late", "error_type": "request_timeout"},
            {"x-fal-request-timeout-type": "user", "x-fal-retryable": "false"},
        ),
        (
            errors.InvalidInput(errors.Problem(("body", "a"), "m", "missing")),
            422,
            {"detail": [{"loc": ["body", "a"], "msg": "m", "type": "missing"}]},
            {"x-fal-retryable": "false", "x-fal-billable-units": "0"},
        ),
        (HTTPException(405, headers={"Allow": "GET"}), 405, {"detail": "Method Not Allowed"}, {"allow": "GET"}),
        (
            ClientDisconnect(),
            499,
            {"detail": "The client hung up", "error_type": "client_disconnected"},
            {"x-fal-error-type": "client_disconnected"},
        ),
        (ValueError("our bug"), 500, {"detail": "Internal Server Error"}, {}),
    ],
)
def test_every_error_has_its_answer(error: Exception, status: int, body: object, headers: dict[str, str]) -> None:
    response = answer(error)
    assert response.status_code == status
    assert json.loads(bytes(response.body)) == body
    assert headers.items() <= dict(response.headers).items()
    assert response.headers["content-type"] == "application/json"


def test_every_refusal_has_a_row() -> None:
    def leaves(kind: type[errors.Error]) -> list[type[errors.Error]]:
        return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]

    assert set(leaves(errors.Refused)) <= set(TABLE)


def test_a_model_error_names_its_types_in_the_body_only() -> None:
    assert "x-fal-error-type" not in outcome_headers(422, "missing")
    assert outcome_headers(499, "client_cancelled")["x-fal-error-type"] == "client_cancelled"
    assert outcome_headers(200, None) == {}
