"""A fault as the outcome that the queue stores. Its body is `wire.errors`' to write."""

from shared.errors import Cancelled, Fault
from shared.queue.records import Outcome
from shared.queue.states import State
from shared.wire.errors import fault_body


def outcome_of(fault: Fault) -> Outcome:
    """fal's request error: `{"detail", "error_type"}` with the fault's status. Never a success."""
    return Outcome(
        state=State.CANCELLED if isinstance(fault, Cancelled) else State.FAILED,
        status=fault.status,
        body=fault_body(fault),
        error=fault.message,
        error_type=fault.error_type,
        retryable=fault.retryable,
    )
