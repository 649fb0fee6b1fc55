"""A fault as the outcome that the queue stores: the one place where its body is written."""

import json

from shared.errors import Cancelled, Fault
from shared.queue.records import Outcome
from shared.queue.states import State


def outcome_of(fault: Fault) -> Outcome:
    """fal's request error: `{"detail", "error_type"}` with the fault's status. Never a success."""
    body = json.dumps({"detail": fault.message, "error_type": fault.error_type}, ensure_ascii=False)
    return Outcome(
        state=State.CANCELLED if isinstance(fault, Cancelled) else State.FAILED,
        status=fault.status,
        body=body,
        error=fault.message,
        error_type=fault.error_type,
        retryable=fault.retryable,
    )
