"""Whether a recorded history keeps the product's promises. Pure: a history in, violations out, no I/O.

In the manner of Jepsen: nothing here looks into the product; each promise is one function over what was seen from
outside and what was left at the end. `PROMISES` lists them by the name under which the table and the docs know them.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.queue import keys
from shared.queue.states import TRANSITIONS, State, wire_status
from tests.chaos.history import (
    Ack,
    Answer,
    Call,
    Cancel,
    Claim,
    Fetch,
    Finish,
    Frame,
    History,
    Intrusion,
    Picture,
    Poll,
    Stored,
    Try,
    Unmade,
    Watched,
    of_kind,
)

COMPLETED = "COMPLETED"
MOST_CRASHES = 3
MOST_ATTEMPTS = 10
INVALID = 422
CLOCK_WAS_SET_MS = 1_800_000
"""Times of Redis and of clients that are further apart than this were not measured by the same clock."""
ACCEPTED = {"accepted", "cancelled"}
OTHERS = ("_kombu.", "unacked", "celery")
"""Celery's own keys."""


@dataclass(frozen=True, slots=True)
class Violation:
    promise: str
    about: str
    """A request's id, a token, a key."""
    what: str


Finding = tuple[str, str]
"""(about, what)"""


def check(history: History) -> list[Violation]:
    """All broken promises, in the order of `PROMISES`."""
    return [
        Violation(name, about, what) for name, promise in PROMISES.items() for about, what in sorted(promise(history))
    ]


def ends_once(history: History) -> Iterator[Finding]:
    """Every acknowledged submit is there and ends in exactly one terminal state, its history a path of the states."""
    requests = history.left.requests
    for ack in of_kind(history.entries, Ack):
        if ack.request not in requests:
            yield ack.request, "was acknowledged and is gone"
    for id, stored in requests.items():
        states = [State(state) for _, state in stored.events]
        finals = [state for state in states if state.is_final]
        if not State(stored.state).is_final:
            yield id, f"never ended: it is {stored.state}"
        elif finals != [State(stored.state)] or not states[-1].is_final:
            yield id, f"is {stored.state}, but its history ends {[state.value for state in states[-3:]]}"
        for before, after in pairwise(states):
            if after not in TRANSITIONS[before] and not (before is after is State.RUNNING):
                yield id, f"went from {before} to {after}"


def completes_once(history: History) -> Iterator[Finding]:
    """At most one completion is accepted, from the last claim that was granted; its files are what the result names."""
    granted: defaultdict[str, set[str]] = defaultdict(set)
    numbers: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    accepted: defaultdict[str, set[str]] = defaultdict(set)
    final: dict[str, int] = {}
    for claim in of_kind(history.entries, Claim):
        granted[claim.request].add(claim.claim)
        numbers[claim.request].add((claim.number, claim.claim))
    for finish in of_kind(history.entries, Finish):
        if finish.verdict in ACCEPTED:
            accepted[finish.request].add(finish.claim)
            final[finish.request] = finish.number
    yield from ((id, f"{len(claims)} completions were accepted") for id, claims in accepted.items() if len(claims) > 1)
    for id, claims in accepted.items():
        if not claims <= granted[id]:
            yield id, "a completion was accepted from a claim that was never granted"
    late = ((id, number) for id, number in final.items() if any(given > number for given, _ in numbers[id]))
    yield from ((id, f"attempt {number} was accepted although a later one had begun") for id, number in late)
    twice = ((id, given) for id, given in numbers.items() if len({number for number, _ in given}) < len(given))
    yield from ((id, f"an attempt number was given out twice: {sorted(given)}") for id, given in twice)
    for id, stored in history.left.requests.items():
        if stored.state == State.SUCCEEDED:
            links = [image["url"] for image in json.loads(stored.body)["images"]]
            makers = {claim for claim in granted[id] if all(claim in link for link in links)}
            if not links or len(makers) != 1 or not accepted[id] <= makers:
                yield id, f"its result {links} is of the claims {makers}, accepted were {accepted[id]}"


def never_changes(history: History) -> Iterator[Finding]:
    """A terminal state and its result never change, whoever looks and how often."""
    said: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    for answer in of_kind(history.entries, Answer):
        said[answer.request].add((answer.status, answer.body))
    for id, answers in said.items():
        stored = history.left.requests.get(id)
        if stored is not None:
            answers.add((stored.status or 0, stored.body))
        if len(answers) > 1:
            yield id, f"{len(answers)} different results: {sorted(answers)}"
    over_ms: dict[str, int] = {}
    for entry in history.entries:
        if isinstance(entry, Poll | Frame) and entry.status == COMPLETED:
            over_ms.setdefault(entry.request, entry.at_ms)
        elif isinstance(entry, Poll) and entry.asked_ms > over_ms.get(entry.request, entry.asked_ms):
            yield entry.request, f"was {entry.status} after it was {COMPLETED}"


def cancelled_stays_cancelled(history: History) -> Iterator[Finding]:
    """What was cancelled before it was claimed never runs; what was acknowledged as cancelled never succeeds."""
    requests = history.left.requests
    for cancel in of_kind(history.entries, Cancel):
        stored = requests.get(cancel.request)
        if cancel.status == 202 and stored is not None and stored.state != State.CANCELLED:
            yield cancel.request, f"its cancellation was acknowledged, and it is {stored.state}"
    unclaimed = {
        id: stored.token
        for id, stored in requests.items()
        if stored.state == State.CANCELLED and State.RUNNING not in {state for _, state in stored.events}
    }
    unclaimed |= {cancel.request: "" for cancel in of_kind(history.entries, Cancel) if cancel.waiting}
    ran = {claim.request for claim in of_kind(history.entries, Claim)}
    fetched = {fetch.token for fetch in of_kind(history.entries, Fetch)}
    shared = Counter(stored.token for stored in requests.values())
    for id, token in unclaimed.items():
        if id in ran or (token in fetched and shared[token] == 1):
            yield id, "was cancelled before its claim, and ran"


def streams_without_gap(history: History) -> Iterator[Finding]:
    """Each stream is the history of states from its beginning, over all reconnects: no gap, nothing twice."""
    heard: defaultdict[str, list[Frame]] = defaultdict(list)
    for frame in of_kind(history.entries, Frame):
        if frame.id is not None:
            heard[frame.request].append(frame)
    whole = {watched.request for watched in of_kind(history.entries, Watched)}
    for id, frames in heard.items():
        stored = history.left.requests.get(id)
        if stored is None:
            continue
        told = [(entry, wire_status(State(state)).value) for entry, state in stored.events]
        had = [(frame.id, frame.status) for frame in frames]
        if had != told[: len(had)]:
            at = next(i for i, pair in enumerate(had) if i >= len(told) or pair != told[i])
            yield id, f"its stream had {had[at]} as event {at}, its history {told[at : at + 1]}"
        elif id in whole and len(had) < len(told):
            yield id, f"its stream ended after {len(had)} of {len(told)} events"


def webhooks_tell(history: History) -> Iterator[Finding]:
    """Each terminal state is announced at least once, never before it holds, always in the same bytes."""
    tokens = {attempt.token: attempt for attempt in of_kind(history.entries, Try)}
    calls: defaultdict[str, list[Call]] = defaultdict(list)
    for call in of_kind(history.entries, Call):
        calls[call.request].append(call)
    for id, stored in history.left.requests.items():
        told = calls.pop(id, [])
        if stored.webhook and stored.token in tokens and not any(200 <= call.status < 300 for call in told):
            yield id, f"is {stored.state}, and its webhook was never taken ({len(told)} calls)"
        if len({call.body for call in told}) > 1:
            yield id, "its webhook was told in different bytes"
        if told:
            yield from ((id, what) for what in _wrongly_told(stored, told))
    for id in calls:
        yield id, "a webhook told of a request that is not there"


def _wrongly_told(stored: Stored, told: list[Call]) -> Iterator[str]:
    ended_ms = int(stored.events[-1][0].partition("-")[0])
    early_ms = ended_ms - min(call.at_ms for call in told)
    if 1 < early_ms < CLOCK_WAS_SET_MS:
        yield "its webhook was told before it ended"
    said = json.loads(told[0].body)
    succeeded = stored.state == State.SUCCEEDED
    if (said["status"] == "OK") is not succeeded or said["payload"] != json.loads(stored.body):
        yield f"is {stored.state}, and its webhook said {told[0].body[:200]}"


def one_key_one_request(history: History) -> Iterator[Finding]:
    """One Idempotency-Key makes one request, however often it was submitted."""
    keyed = {attempt.token for attempt in of_kind(history.entries, Try) if attempt.keyed}
    made: defaultdict[str, set[str]] = defaultdict(set)
    for id, stored in history.left.requests.items():
        made[stored.token].add(id)
    for ack in of_kind(history.entries, Ack):
        made[ack.token].add(ack.request)
    for token in keyed:
        if len(made[token]) > 1:
            yield token, f"one key made {len(made[token])} requests"


def failures_have_a_cause(history: History) -> Iterator[Finding]:
    """No fault ends a request before its retries are used up, and none is answered as a bug of ours.

    What breaks the schema is told so, if nobody takes it back before.
    """
    wrong = {attempt.token for attempt in of_kind(history.entries, Try) if attempt.wrong}
    for id, stored in history.left.requests.items():
        if stored.token in wrong:
            if stored.state == State.SUCCEEDED or (stored.state == State.FAILED and stored.status != INVALID):
                yield id, f"breaks the schema, and is {stored.state} with {stored.status}"
            continue
        if stored.state != State.FAILED:
            continue
        spent = stored.attempts >= MOST_ATTEMPTS
        excused = {
            "runner_disconnected": stored.crashes >= MOST_CRASHES or spent,
            "runner_connection_error": spent,
        }
        if not excused.get(stored.error_type or "", False):
            what = f"{stored.error_type} after {stored.attempts} attempts and {stored.crashes} crashes"
            yield id, f"failed with {what}"


def results_can_be_fetched(history: History) -> Iterator[Finding]:
    """The pictures of a success are there."""
    for picture in of_kind(history.entries, Picture):
        if picture.status != 200 or picture.bytes == 0:
            yield picture.request, f"its picture was answered {picture.status}, {picture.bytes} bytes"


def nobody_got_in(history: History) -> Iterator[Finding]:
    """No webhook or picture led to a place inside."""
    for intrusion in of_kind(history.entries, Intrusion):
        yield intrusion.what, "was called"


def faults_were_made(history: History) -> Iterator[Finding]:
    """Not the product's promise but ours: a fault that was not there shows nothing."""
    for unmade in of_kind(history.entries, Unmade):
        yield unmade.fault, unmade.why


def nothing_left(history: History) -> Iterator[Finding]:
    """Queue and indexes are empty, every key goes by itself, every file is known to the sweeper."""
    left = history.left
    for name, members in left.indexes.items():
        if members:
            yield name, f"still holds {len(members)}: {members[:3]}"
    if left.work:
        yield keys.WORK, f"counts {left.work} step-megapixels of an empty queue"
    for name, ttl_ms in left.keys.items():
        stays = name in keys.PERSISTENT or name.startswith(OTHERS) or name.endswith(".pidbox")
        if ttl_ms == -1 and not stays:
            yield name, "would stay for ever"
    for file in set(left.files) - set(left.known_files):
        yield file, "would never be deleted"


Promise = Callable[[History], Iterable[Finding]]

PROMISES: dict[str, Promise] = {
    promise.__name__.replace("_", "-"): promise
    for promise in (
        ends_once,
        completes_once,
        never_changes,
        cancelled_stays_cancelled,
        streams_without_gap,
        webhooks_tell,
        one_key_one_request,
        failures_have_a_cause,
        results_can_be_fetched,
        nobody_got_in,
        nothing_left,
        faults_were_made,
    )
}
