"""The table of states."""

import pytest

from shared.queue.states import TRANSITIONS, State, WireStatus, wire_status


def test_every_state_has_a_row_and_leads_to_states() -> None:
    assert set(TRANSITIONS) == set(State)


def test_final_states_lead_nowhere_and_the_others_somewhere() -> None:
    assert {state for state in State if state.is_final} == {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def test_no_state_leads_to_itself() -> None:
    assert all(state not in after for state, after in TRANSITIONS.items())


def test_success_is_reached_from_running_only() -> None:
    assert [state for state, after in TRANSITIONS.items() if State.SUCCEEDED in after] == [State.RUNNING]


@pytest.mark.parametrize("state", State)
def test_fal_knows_three_statuses(state: State) -> None:
    expected = {State.QUEUED: WireStatus.IN_QUEUE, State.RUNNING: WireStatus.IN_PROGRESS}
    assert wire_status(state) is expected.get(state, WireStatus.COMPLETED)
