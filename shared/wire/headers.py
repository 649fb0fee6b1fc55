"""The names of fal's headers and how their values are read. Pure.

Names are lower case, as ASGI gives them. Every reader raises `BadRequest` that names the header, and takes None, an
absent header, for what fal takes it for.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import cast

from shared.errors import BadRequest

REQUEST_ID = "x-fal-request-id"
REQUEST_TIMEOUT = "x-fal-request-timeout"
REQUEST_TIMEOUT_TYPE = "x-fal-request-timeout-type"
QUEUE_PRIORITY = "x-fal-queue-priority"
LIFECYCLE_PREFERENCE = "x-fal-object-lifecycle-preference"
UPLOAD_LIFECYCLE = "x-fal-object-lifecycle"
STORE_IO = "x-fal-store-io"
NO_RETRY = "x-fal-no-retry"
ERROR_TYPE = "x-fal-error-type"
RETRYABLE = "x-fal-retryable"
NEEDS_RETRY = "x-fal-needs-retry"
BILLABLE_UNITS = "x-fal-billable-units"
FILE_NAME = "x-fal-file-name"
TARGET_URL = "x-fal-target-url"
TOTAL_TIMEOUT = "x-total-timeout"
AUTHORIZATION = "authorization"
IDEMPOTENCY_KEY = "idempotency-key"
LAST_EVENT_ID = "last-event-id"

LONGEST_S = 365 * 86_400
"""Longer times are taken as this one."""
_SHORTEST_TIMEOUT_S = 0.1
_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,4})?")
"""What other languages, too, write a number of seconds as; Python alone would take `1_0`, `inf` and `٣`."""


def only(name: str, given: Sequence[str]) -> str | None:
    """The value of a header that decides something, None where there is none. Two that differ are refused: whoever
    stands between may have judged by the other one."""
    if len(set(given)) > 1:
        raise BadRequest(f"There is more than one {name} header")
    return given[0] if given else None


def timeout_ms(name: str, value: str | None) -> int | None:
    """Seconds as text, more than 0.1, to whole milliseconds."""
    if value is None:
        return None
    seconds = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    if not seconds > _SHORTEST_TIMEOUT_S:
        raise BadRequest(f"{name} must be a number of seconds above {_SHORTEST_TIMEOUT_S}")
    return round(min(seconds, LONGEST_S) * 1000)


def is_low_priority(value: str | None) -> bool:
    """`normal` (or nothing) or `low`."""
    priority = "normal" if value is None else value.strip().lower()
    if priority not in {"normal", "low"}:
        raise BadRequest(f"{QUEUE_PRIORITY} must be normal or low")
    return priority == "low"


def is_set(value: str | None) -> bool:
    """`1`, `true` and `yes` set a flag; so the query's `logs=1` and `logs=true` do."""
    return value is not None and value.strip().lower() in {"1", "true", "yes"}


def keeps_io(value: str | None) -> bool:
    """`0` asks to drop a request's payloads early."""
    return value is None or value.strip().lower() not in {"0", "false", "no"}


def lifetime_s(name: str, value: str | None) -> int | None:
    """`{"expiration_duration_seconds": n}` to seconds; None means the server's own retention, as 0 and null do."""
    if value is None:
        return None
    try:
        preference: object = json.loads(value)
    except (ValueError, RecursionError):
        preference = None
    if not isinstance(preference, dict):
        raise BadRequest(f"{name} must be a JSON object")
    seconds = cast("dict[str, object]", preference).get("expiration_duration_seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise BadRequest(f"{name}: expiration_duration_seconds must be a number of seconds")
    return math.ceil(min(seconds, LONGEST_S)) or None


def idempotency_key(value: str | None) -> str | None:
    """Up to 255 visible characters."""
    if value is not None and not (0 < len(value) <= 255 and value.isprintable()):
        raise BadRequest(f"{IDEMPOTENCY_KEY} must be 1 to 255 printable characters")
    return value
