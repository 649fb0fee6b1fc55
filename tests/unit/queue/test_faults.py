"""Faults as outcomes."""

import json

import pytest

from shared.errors import Cancelled, Fault, InternalFault, OutOfMemory, StartTimeout, Unavailable, WorkerLost
from shared.queue.faults import outcome_of
from shared.queue.states import State


@pytest.mark.parametrize("fault", [InternalFault(), StartTimeout(), WorkerLost(), Unavailable("Store"), OutOfMemory()])
def test_a_fault_is_a_failure_with_fals_request_error(fault: Fault) -> None:
    outcome = outcome_of(fault)
    assert (outcome.state, outcome.status, outcome.retryable) == (State.FAILED, fault.status, fault.retryable)
    assert json.loads(outcome.body) == {"detail": fault.message, "error_type": fault.error_type}
    assert (outcome.error, outcome.error_type) == (fault.message, fault.error_type)


def test_a_cancellation_is_its_own_end() -> None:
    assert outcome_of(Cancelled()).state is State.CANCELLED
