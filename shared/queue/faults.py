"""Invalid input or a fault as the outcome that the queue stores. Its body is `wire.errors`' to write."""

from shared.errors import Cancelled, Fault, InvalidInput
from shared.queue.records import Outcome
from shared.queue.states import State
from shared.wire import errors as wire


def outcome_of(fault: Fault | InvalidInput) -> Outcome:
    """fal's request error, `{"detail", "error_type"}` with the fault's status, or a 422 with one item per problem,
    whose `error_type` is the first one's. Never a success."""
    if isinstance(fault, InvalidInput):
        return Outcome(
            state=State.FAILED,
            status=422,
            body=wire.body(fault.problems),
            error=wire.summary(fault.problems),
            error_type=fault.problems[0].type,
        )
    return Outcome(
        state=State.CANCELLED if isinstance(fault, Cancelled) else State.FAILED,
        status=fault.status,
        body=wire.fault_body(fault),
        error=fault.message,
        error_type=fault.error_type,
        retryable=fault.retryable,
    )
