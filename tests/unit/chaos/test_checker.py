"""The checker of the chaos suite finds what it is for: planted violations of each promise, and none in a good run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.queue import keys
from tests.chaos.checker import PROMISES, check
from tests.chaos.history import (
    Ack,
    Answer,
    Call,
    Cancel,
    Claim,
    Entry,
    Fetch,
    Finish,
    Frame,
    History,
    Injected,
    Intrusion,
    Left,
    Picture,
    Poll,
    Record,
    Stored,
    Try,
    Unmade,
    Watched,
)

A, B, C = "request-a", "request-b", "request-c"
"""One that succeeded at its second attempt, one that was cancelled while it waited, one whose workers all died."""
DONE = json.dumps({"images": [{"url": f"http://here/files/results/{A}/claim-2/0.png"}]})
GONE = json.dumps({"detail": "Request was cancelled"})
LOST = json.dumps({"detail": "The workers stopped"})
TWICE = (("1-0", "queued"), ("2-0", "running"), ("3-0", "queued"), ("4-0", "running"), ("4-1", "running"))
HISTORY_A = (*TWICE, ("5-0", "succeeded"))


def stored(**changes: object) -> Stored:
    whole = Stored(
        token="a",
        state="succeeded",
        status=200,
        body=DONE,
        error_type=None,
        attempts=2,
        crashes=1,
        webhook=True,
        events=HISTORY_A,
    )
    return replace(whole, **changes)  # pyright: ignore[reportArgumentType]


REQUESTS = {
    A: stored(),
    B: stored(
        token="b",
        state="cancelled",
        status=499,
        body=GONE,
        error_type="client_cancelled",
        attempts=0,
        crashes=0,
        webhook=False,
        events=(("1-1", "queued"), ("2-1", "cancelled")),
    ),
    C: stored(
        token="c",
        state="failed",
        status=503,
        body=LOST,
        error_type="runner_disconnected",
        attempts=3,
        crashes=3,
        webhook=False,
        events=(("1-2", "queued"), ("2-2", "running"), ("9-2", "failed")),
    ),
}


def told(status: str, payload: str) -> str:
    return json.dumps({"status": status, "payload": json.loads(payload)})


ENTRIES: tuple[Entry, ...] = (
    Try(at_ms=1, token="a", keyed=True, fault="kill", hook="good"),
    Ack(at_ms=1, token="a", request=A),
    Try(at_ms=1, token="b", keyed=False, fault="kill", hook=""),
    Ack(at_ms=1, token="b", request=B),
    Try(at_ms=1, token="c", keyed=True, fault="kill", hook=""),
    Ack(at_ms=1, token="c", request=C),
    Cancel(at_ms=2, request=B, status=202),
    Claim(at_ms=2, worker="w1", request=A, number=1, claim="claim-1"),
    Fetch(at_ms=2, token="a"),
    Claim(at_ms=2, worker="w1", request=C, number=1, claim="claim-c"),
    Frame(at_ms=1, request=A, id="1-0", status="IN_QUEUE"),
    Frame(at_ms=2, request=A, id="2-0", status="IN_PROGRESS"),
    Claim(at_ms=4, worker="w2", request=A, number=2, claim="claim-2"),
    Finish(at_ms=5, worker="w1", request=A, number=1, claim="claim-1", verdict="lost"),
    Finish(at_ms=5, worker="w2", request=A, number=2, claim="claim-2", verdict="accepted"),
    Frame(at_ms=5, request=A, id="3-0", status="IN_QUEUE"),
    Frame(at_ms=5, request=A, id=None, status="IN_QUEUE"),
    Frame(at_ms=5, request=A, id="4-0", status="IN_PROGRESS"),
    Frame(at_ms=5, request=A, id="4-1", status="IN_PROGRESS"),
    Frame(at_ms=5, request=A, id="5-0", status="COMPLETED"),
    Watched(at_ms=5, request=A),
    Poll(at_ms=6, request=A, status="COMPLETED", asked_ms=6),
    Answer(at_ms=6, request=A, status=200, body=DONE),
    Answer(at_ms=9, request=A, status=200, body=DONE),
    Picture(at_ms=9, request=A, status=200, bytes=90),
    Call(at_ms=6, token="a", request=A, status=500, body=told("OK", DONE)),
    Call(at_ms=7, token="a", request=A, status=200, body=told("OK", DONE)),
)
LEFT = Left(
    requests=REQUESTS,
    keys={keys.request(A): 86_000, keys.QUEUE: -1, "_kombu.binding.image": -1},
    indexes={keys.QUEUE: (), keys.LEASES: ()},
    files=("results/a/0.png",),
    known_files=("results/a/0.png", "inputs/never-written"),
)
GOOD = History(ENTRIES, LEFT)


def with_request(id: str, **changes: object) -> History:
    return replace(GOOD, left=replace(LEFT, requests={**REQUESTS, id: replace(REQUESTS[id], **changes)}))  # pyright: ignore[reportArgumentType]


def without(*kinds: type[Entry]) -> History:
    return replace(GOOD, entries=tuple(entry for entry in ENTRIES if not isinstance(entry, kinds)))


def without_frame(id: str) -> History:
    kept = (entry for entry in ENTRIES if not (isinstance(entry, Frame) and entry.id == id))
    return replace(GOOD, entries=tuple(kept))


def plus(*more: Entry) -> History:
    return replace(GOOD, entries=(*ENTRIES, *more))


def wrong(token: str) -> Try:
    return Try(token=token, keyed=True, fault="kill", hook="", wrong=True)


def left(**changes: object) -> History:
    return replace(GOOD, left=replace(LEFT, **changes))  # pyright: ignore[reportArgumentType]


def swapped(request: str, at: int, event: tuple[str, str]) -> History:
    events = list(REQUESTS[request].events)
    events[at] = event
    return with_request(request, events=tuple(events))


PLANTED: list[tuple[str, str, History]] = [
    ("ends-once", "an acknowledged request is gone", left(requests={A: REQUESTS[A], B: REQUESTS[B]})),
    ("ends-once", "one never ends", with_request(C, state="running", events=REQUESTS[C].events[:-1])),
    ("ends-once", "one ends twice", with_request(A, events=(*HISTORY_A, ("6-0", "failed")))),
    ("ends-once", "one goes on after its end", with_request(A, events=(*HISTORY_A, ("6-0", "running")))),
    ("ends-once", "a state that may not follow", swapped(C, 1, ("2-2", "succeeded"))),
    (
        "completes-once",
        "two completions",
        plus(Finish(worker="w1", request=A, number=1, claim="claim-1", verdict="accepted")),
    ),
    (
        "completes-once",
        "a completion without a claim",
        plus(Finish(worker="w1", request=C, number=9, claim="claim-9", verdict="accepted")),
    ),
    (
        "completes-once",
        "an attempt number twice",
        plus(Claim(worker="w3", request=A, number=2, claim="claim-3")),
    ),
    ("completes-once", "an overtaken attempt", plus(Claim(worker="w1", request=A, number=3, claim="claim-3"))),
    (
        "completes-once",
        "the result of a lost claim",
        with_request(A, body=DONE.replace("claim-2", "claim-1")),
    ),
    ("never-changes", "another result later", plus(Answer(request=A, status=200, body=GONE))),
    ("never-changes", "another status later", plus(Answer(request=A, status=503, body=DONE))),
    ("never-changes", "not over any more", plus(Poll(request=A, status="IN_PROGRESS", asked_ms=7))),
    ("cancelled-stays-cancelled", "it ran", plus(Claim(worker="w1", request=B, number=1, claim="claim-b"))),
    (
        "cancelled-stays-cancelled",
        "it was claimed and stopped again",
        plus(Cancel(request=C, status=202, waiting=True), Claim(worker="w1", request=C, number=1, claim="claim-c")),
    ),
    ("cancelled-stays-cancelled", "its picture was fetched", plus(Fetch(token="b"))),
    ("cancelled-stays-cancelled", "acknowledged, yet done", plus(Cancel(request=A, status=202))),
    ("streams-without-gap", "an event is missing", without_frame("3-0")),
    ("streams-without-gap", "it ends early", plus(Frame(request=C, id="1-2", status="IN_QUEUE"), Watched(request=C))),
    ("streams-without-gap", "an event twice", plus(Frame(request=A, id="5-0", status="COMPLETED"))),
    ("streams-without-gap", "another status than it was", plus(Frame(request=C, id="1-2", status="COMPLETED"))),
    ("webhooks-tell", "nobody was told", without(Call)),
    ("webhooks-tell", "in other bytes", plus(Call(token="a", request=A, status=200, body=told("OK", DONE) + " "))),
    (
        "webhooks-tell",
        "before it was over",
        plus(Call(at_ms=3, token="a", request=A, status=200, body=told("OK", DONE))),
    ),
    ("webhooks-tell", "another end", with_request(A, state="failed", status=500)),
    ("webhooks-tell", "of an unknown request", plus(Call(token="x", request="x", status=200, body=told("OK", DONE)))),
    ("one-key-one-request", "two were made", plus(Ack(token="a", request=C))),
    ("failures-have-a-cause", "a bug of ours", with_request(C, error_type="runner_server_error")),
    ("failures-have-a-cause", "given up too early", with_request(C, crashes=2)),
    ("failures-have-a-cause", "what is wrong was run", plus(wrong("a"))),
    (
        "failures-have-a-cause",
        "what is wrong was not told so",
        plus(wrong("c")),
    ),
    ("results-can-be-fetched", "no picture", plus(Picture(request=A, status=404, bytes=20))),
    ("nobody-got-in", "a call inside", plus(Intrusion(what="POST /secret"))),
    ("faults-were-made", "one was not", plus(Unmade(fault="kill", why="no worker was ever idle"))),
    ("nothing-left", "still in an index", left(indexes={keys.LEASES: (A,)})),
    ("nothing-left", "work of an empty queue", left(work=3)),
    ("nothing-left", "a key for ever", left(keys={keys.request(A): -1})),
    ("nothing-left", "a file for ever", left(files=("results/a/0.png", "results/b/0.png"))),
]


def test_a_good_run_breaks_nothing():
    assert check(GOOD) == []


@pytest.mark.parametrize(("promise", "what", "history"), PLANTED, ids=[f"{p}: {what}" for p, what, _ in PLANTED])
def test_a_planted_violation_is_found(promise: str, what: str, history: History):
    assert promise in {violation.promise for violation in check(history)}, what


def test_every_promise_has_a_planted_violation():
    assert {promise for promise, _, _ in PLANTED} == set(PROMISES)


def test_a_reply_that_nobody_heard_is_no_violation():
    """Redis may accept an outcome and die before it says so."""
    assert check(without(Finish)) == []


def test_a_kept_history_reads_as_it_was(tmp_path: Path):
    record = Record(tmp_path)
    entries = (*ENTRIES, Injected(at_ms=3, fault="kill", what="SIGKILL", part="w1", victims=(A, C)))
    for entry in entries:
        record.add(entry)
    kept = record.close(LEFT)
    assert Record.read(tmp_path) == kept == History(entries, LEFT)
