"""The life of a request, as a table. Pure: nothing here does I/O.

`cancel_requested` is a field and not a state: asking is not having stopped.
"""

from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where a request is. The values are what Redis stores."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""queued → running is claim; running → queued is release, rescue and a retried fault; queued → failed is an
expired start timeout. A submission that breaks the schema is born failed."""


class WireStatus(StrEnum):
    """The three statuses that fal's clients know. Failure and cancellation are COMPLETED with an error."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


def wire_status(state: State) -> WireStatus:
    match state:
        case State.QUEUED:
            return WireStatus.IN_QUEUE
        case State.RUNNING:
            return WireStatus.IN_PROGRESS
        case _:
            return WireStatus.COMPLETED


class Lane(IntEnum):
    """Every normal request goes before every low one."""

    NORMAL = 0
    LOW = 1
