"""What is said about a request: the one place that turns the queue's records into fal's status object.

Polls and stream events are made here alike, so they can never disagree.
"""

import json
from collections.abc import Sequence

from shared.queue.records import Event, Preview, View
from shared.queue.states import State, WireStatus, wire_status
from shared.wire.queue import Log, Metrics, Progress, Status, links, log

EVENTS_AT_ONCE = 500


def of_view(view: View, logs: list[Log] | None) -> Status:
    """The status at the moment of `view`. `logs` is None where the caller wants none."""
    status = _status(view, view.state, logs)
    if view.state is State.QUEUED:
        status["queue_position"] = view.position or 0
    elif view.state is State.RUNNING:
        status["progress"] = _progress(view, view.step, view.steps, view.now_ms)
    return status


def of_event(view: View, event: Event, *, logs: bool) -> Status:
    """The status as it was after `event`, with the event's own log line only. `view` was read later than the event."""
    if event.state.is_final:
        return of_view(view, logs_of([event]) if logs else None)
    status = _status(view, event.state, logs_of([event]) if logs else None)
    if event.state is State.QUEUED:
        status["queue_position"] = view.position or 0
    else:
        step, steps = (event.step or 0, event.steps or view.steps)
        status["progress"] = _progress(view, step, steps, event.at_ms)
    return status


def with_preview(status: Status, preview: Preview | None) -> Status:
    """Only a running request has one."""
    if preview is None or status["status"] != WireStatus.IN_PROGRESS:
        return status
    return {**status, "preview": {"step": preview.step, "url": preview.url}}


def logs_of(events: Sequence[Event]) -> list[Log]:
    return [log(event.message, event.level or "INFO", event.at_ms) for event in events if event.message is not None]


def http_code(state: State) -> int:
    """fal's older SDK takes a request for completed if and only if the code is 200."""
    return 200 if state.is_final else 202


def dump(status: Status) -> bytes:
    return json.dumps(status).encode()


def _status(view: View, state: State, logs: list[Log] | None) -> Status:
    wire = wire_status(state)
    if wire is WireStatus.IN_QUEUE:
        logs = None
    status: Status = {"status": wire, **links(view.base, view.id), "logs": logs, "metrics": {}}
    if state.is_final:
        status["metrics"] = _metrics(view)
        if view.error is not None:
            status["error"] = view.error
        if view.error_type is not None:
            status["error_type"] = view.error_type
    return status


def _metrics(view: View) -> Metrics:
    metrics: Metrics = {}
    if view.inference_s is not None:
        metrics["inference_time"] = view.inference_s
    if view.gpu_s is not None:
        metrics["gpu_seconds"] = view.gpu_s
    return metrics


def _progress(view: View, step: int, steps: int, at_ms: int) -> Progress:
    """`eta_seconds` is null until the first step is done: then the steps left at the pace of those behind."""
    eta: float | None = None
    if step and view.started_ms is not None:
        eta = round(max(0, at_ms - view.started_ms) / 1000 / step * max(0, steps - step), 1)
    return {"step": step, "steps": steps, "eta_seconds": eta}
