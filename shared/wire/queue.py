"""The queue's own bodies: links, submit answer, status, log lines. Shapes only; the values come from `shared.queue`."""

import re
import secrets
import time
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

APP = "fal-ai/kolors"
"""Requests live here: fal drops the sub-path of the endpoint."""
ENDPOINT = f"{APP}/image-to-image"

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Log(TypedDict):
    message: str
    level: str
    source: str
    timestamp: str
    labels: dict[str, str]
    """Swift's client insists on it."""


class Metrics(TypedDict):
    inference_time: NotRequired[float]
    gpu_seconds: NotRequired[float]


class Progress(TypedDict):
    step: int
    steps: int
    eta_seconds: float | None


class Preview(TypedDict):
    step: int
    url: str
    """A data: URI of a small picture."""


class Links(TypedDict):
    request_id: str
    response_url: str
    status_url: str
    cancel_url: str


class Status(Links):
    """`queue_position` is there whenever IN_QUEUE; `error` and `error_type` on a failure; `logs` always;
    `preview` of a running request whose caller asks for it, where there is one."""

    status: str
    logs: list[Log] | None
    metrics: Metrics
    queue_position: NotRequired[int]
    progress: NotRequired[Progress]
    preview: NotRequired[Preview]
    error: NotRequired[str]
    error_type: NotRequired[str]


class Submitted(Links):
    status: str
    logs: None
    metrics: Metrics
    queue_position: int
    gateway_request_id: str


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562): ids sort by the time of their submission."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    chance = secrets.token_hex(10)
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def is_request_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def links(base: str, id: str) -> Links:
    url = f"{base}/{APP}/requests/{id}"
    return {"request_id": id, "response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}


def submitted(base: str, id: str, position: int) -> Submitted:
    return {
        "status": "IN_QUEUE",
        **links(base, id),
        "logs": None,
        "metrics": {},
        "queue_position": position,
        "gateway_request_id": id,
    }


def log(message: str, level: str, at_ms: int) -> Log:
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {"message": message, "level": level, "source": "USER", "timestamp": stamp, "labels": {"level": level}}
