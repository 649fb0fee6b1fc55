"""Commands are values: what they would send, without sending it."""

import json
from dataclasses import replace

import pytest

from shared.errors import IdempotencyConflict, QueueFull, TooManyQueued
from shared.queue import commands, keys
from shared.queue.records import Held, Lease, Outcome, Presence, Receipt, Submission
from shared.queue.states import Lane, State

SUBMISSION = Submission(id="a", tenant="ann", input="{}", cost_px=1024 * 1024, steps=50, base="http://here")


def fields(submission: Submission) -> dict[str, object]:
    words = commands.submit(submission, retention_s=60).args[9:]
    return dict(zip(map(str, words[::2]), words[1::2], strict=True))


def test_cost_is_counted_in_step_megapixels_and_never_zero() -> None:
    assert commands.cost(SUBMISSION) == 53
    assert commands.cost(Submission("a", "ann", "{}", cost_px=64, steps=1, base="")) == 1


def test_what_a_submission_leaves_out_is_not_stored() -> None:
    assert set(fields(SUBMISSION)) == {"input", "cost_px", "cost", "steps", "base", "lane"}


def test_a_submission_is_stored_whole() -> None:
    whole = Submission(
        "a",
        "ann",
        "{}",
        1,
        1,
        "http://here",
        Lane.LOW,
        "key",
        "http://hook",
        file_ttl_s=5,
        keep_io=False,
        retry=False,
        max_running=3,
    )
    assert fields(whole) == {
        "input": "{}",
        "cost_px": 1,
        "cost": 1,
        "steps": 1,
        "base": "http://here",
        "lane": 1,
        "image_key": "key",
        "webhook": "http://hook",
        "file_ttl_s": 5,
        "keep_io": 0,
        "retry": 0,
        "max_running": 3,
    }


def test_an_idempotency_key_is_one_more_key() -> None:
    command = commands.submit(replace(SUBMISSION, idempotency_key="k"), retention_s=60)
    assert command.keys == (keys.request("a"), keys.idempotency("ann", "k"))


@pytest.mark.parametrize(
    ("verdict", "error"), [("full", QueueFull), ("crowded", TooManyQueued), ("conflict", IdempotencyConflict)]
)
def test_a_refusal_is_raised_where_it_is_read(verdict: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        commands.submit(SUBMISSION, retention_s=60).decode([verdict, "a", 0])


def test_a_receipt_is_read() -> None:
    decode = commands.submit(SUBMISSION, retention_s=60).decode
    assert decode(["accepted", "a", 3]) == Receipt("a", 3, replayed=False)
    assert decode(["replayed", "b", 0]) == Receipt("b", 0, replayed=True)


def test_an_outcome_is_sent_as_text_without_what_is_none() -> None:
    outcome = Outcome(State.SUCCEEDED, 200, '{"a": "é"}', inference_s=0.1)
    packed = commands.finish(Held("a", 1, "c"), outcome, retention_s=60).args[3]
    assert json.loads(str(packed)) == {
        "state": "succeeded",
        "status": "200",
        "body": '{"a": "é"}',
        "inference_s": "0.1",
    }


def test_verdicts_go_to_the_requests_they_speak_of() -> None:
    presence = Presence("w", "tiny", "cpu", True, False, 0, 0, 0.0, 1)
    command = commands.renew(presence, [Held("a", 1, "c"), Held("b", 2, "d")], lease_ms=10)
    assert command.args[3:] == ("a", 1, "c", "b", 2, "d")
    assert command.decode(["kept", "lost"]) == {"a": Lease.KEPT, "b": Lease.LOST}
