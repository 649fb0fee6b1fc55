"""What every answer has to look like, whatever was sent: never a 5xx, and refusals as fal words them."""

import json
from collections.abc import Mapping
from typing import Any, cast

TEXT_ONLY = {"detail"}
TYPED = {"detail", "error_type"}
STATUS_WORDS = {"NOT_FOUND", "ALREADY_COMPLETED"}


def check(status: int, headers: Mapping[str, str], content: bytes, method: str = "GET") -> None:
    """`headers` by lower-case names. Fails where a caller would be puzzled."""
    out_of_patience = status == 504 and headers["x-fal-request-timeout-type"] == "user"  # of a run that nobody works at
    assert 200 <= status < 500 or out_of_patience, (status, content[:500])
    assert headers["x-fal-request-id"]
    assert headers["access-control-allow-origin"] == "*"
    if status < 400 or method == "HEAD":
        return
    assert headers["content-type"] == "application/json"
    assert len(content) < 20_000
    body: Any = json.loads(content)
    assert isinstance(body, dict)
    _check_body(cast("dict[str, Any]", body), status, headers)


def _check_body(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> None:
    if set(body) == {"status"}:
        assert body["status"] in STATUS_WORDS
        return
    assert set(body) in (TEXT_ONLY, TYPED)
    assert body.get("error_type") == headers.get("x-fal-error-type")
    if isinstance(body["detail"], str):
        assert body["detail"]
        return
    assert status == 422
    assert body["detail"]
    for item in body["detail"]:
        assert item["loc"][0] == "body"
        assert isinstance(item["msg"], str)
        assert isinstance(item["type"], str)
        assert set(item) <= {"loc", "msg", "type", "url", "ctx", "input"}
