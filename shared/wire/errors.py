"""What an error looks like in a body: fal's model errors (a list of items) and request errors (a text and a type).

Knows names and shapes; which HTTP code goes with them is the table's in `api.errors` and the outcome's.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.errors import Fault, Location, Problem

DOCUMENTED = frozenset({
    "archive_file_count_below_minimum", "archive_file_count_exceeds_maximum", "audio_duration_too_long",
    "audio_duration_too_short", "content_policy_violation", "downstream_service_error",
    "downstream_service_unavailable", "face_detection_error", "feature_not_supported", "file_download_error",
    "file_too_large", "generation_timeout", "greater_than", "greater_than_equal", "image_load_error",
    "image_too_large", "image_too_small", "internal_server_error", "invalid_archive", "less_than", "less_than_equal",
    "multiple_of", "no_media_generated", "one_of", "sequence_too_long", "sequence_too_short",
    "unsupported_audio_format", "unsupported_image_format", "unsupported_video_format", "video_duration_too_long",
    "video_duration_too_short",
})  # fmt: skip
"""The types that fal documents; only these have a page to link to."""

_RENAMED = {
    "literal_error": "one_of",
    "enum": "one_of",
    "string_too_long": "sequence_too_long",
    "too_long": "sequence_too_long",
    "string_too_short": "sequence_too_short",
    "too_short": "sequence_too_short",
}
_CONTEXT = {
    "greater_than": "gt",
    "greater_than_equal": "ge",
    "less_than": "lt",
    "less_than_equal": "le",
    "multiple_of": "multiple_of",
    "sequence_too_short": "min_length",
    "sequence_too_long": "max_length",
}
_QUOTED = re.compile(r"'([^']*)'")
_LARGEST_INPUT = 200


def body(problems: Iterable[Problem]) -> str:
    """The JSON text `{"detail": [{loc, msg, type, url?, ctx?, input?}, …]}`."""
    return json.dumps({"detail": [_item(problem) for problem in problems]}, allow_nan=False)


def summary(problems: Iterable[Problem]) -> str:
    """The problems as one line, for the `error` of a status."""
    return "; ".join(f"{'.'.join(map(str, problem.location[1:]))}: {problem.message}" for problem in problems)


def fault_body(fault: Fault) -> str:
    """The JSON text `{"detail": …, "error_type": …}`."""
    return text_body(fault.message, fault.error_type)


def text_body(detail: str, error_type: str | None = None) -> str:
    return json.dumps({"detail": detail} if error_type is None else {"detail": detail, "error_type": error_type})


def problems(
    error: ValidationError, *, root: Location = ("body",), tags: frozenset[str] = frozenset()
) -> list[Problem]:
    """What pydantic found, in fal's vocabulary. `tags` are names of union members, which are no part of a location."""
    return [_problem(details, root, tags) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, root: Location, tags: frozenset[str]) -> Problem:
    kind = _RENAMED.get(details["type"], details["type"])
    return Problem(
        location=root + tuple(part for part in details["loc"] if part not in tags),
        message=details["msg"],
        type=kind,
        context=_context(kind, details.get("ctx", {})),
        input=_small(details["input"]),
    )


def _context(kind: str, given: Mapping[str, object]) -> Mapping[str, object] | None:
    if kind == "one_of":
        return {"expected": _QUOTED.findall(str(given.get("expected", "")))}
    name = _CONTEXT.get(kind)
    return {name: given[name]} if name is not None and name in given else None


def _small(value: object) -> object | None:
    """The value itself if it is a scalar that is worth sending back; None otherwise."""
    match value:
        case bool():
            return value
        case str() if len(value) <= _LARGEST_INPUT:
            return value
        case int() if abs(value) < 10**_LARGEST_INPUT:
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            return None


def _item(problem: Problem) -> dict[str, object]:
    item: dict[str, object] = {"loc": list(problem.location), "msg": problem.message, "type": problem.type}
    if problem.type in DOCUMENTED:
        item["url"] = f"https://docs.fal.ai/errors/#{problem.type}"
    if problem.context:
        item["ctx"] = dict(problem.context)
    if problem.input is not None:
        item["input"] = problem.input
    return item
