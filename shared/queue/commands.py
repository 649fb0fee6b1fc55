"""One pure function per transition and per question: what to run, and how to read the reply. No I/O.

A command is run by `execute.run` or `execute.run_sync`. What a transition does is written in the header of
`lua/{verb}.lua`. Errors that decoding raises are errors of the product (`QueueFull`, `IdempotencyConflict`).
"""

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from shared.errors import Cancelled, StartTimeout, TotalTimeout, WorkerLost
from shared.queue import decode, keys, scripts
from shared.queue.connect import Reply, Word
from shared.queue.faults import outcome_of
from shared.queue.records import (
    Attempt,
    Cancellation,
    Case,
    Delivery,
    Event,
    Finish,
    Fleet,
    Held,
    Lease,
    Note,
    Outcome,
    Presence,
    Preview,
    Receipt,
    Rescue,
    Result,
    StoredKey,
    StoredKeys,
    Submission,
    View,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    script: scripts.Script
    keys: tuple[str, ...]
    args: tuple[Word, ...]
    decode: Callable[[Reply], T]


def _pack(outcome: Outcome, **more: str) -> str:
    """An outcome as the scripts take it: fields of the request's hash, all text, None left out."""
    fields = {
        name: value.value if name == "state" else str(value)
        for name, value in asdict(outcome).items()
        if value is not None and name != "retryable"
    }
    return json.dumps(fields | more, ensure_ascii=False)


_CANCELLED = _pack(outcome_of(Cancelled()))
_START_TIMEOUT = _pack(outcome_of(StartTimeout()), start_timed_out="1")
_TOTAL_TIMEOUT = _pack(outcome_of(TotalTimeout()))
_WORKER_LOST = _pack(outcome_of(WorkerLost()))


def cost(submission: Submission) -> int:
    """Step-megapixels, at least 1: what fair queueing counts in."""
    return max(1, math.ceil(submission.cost_px * submission.steps / 1_000_000))


def submit(submission: Submission, *, retention_s: int) -> Command[Receipt]:
    """Decoding raises `QueueFull`, `TooManyQueued` or `IdempotencyConflict`; nothing was written then. Running it again
    is harmless."""
    s = submission
    fields: dict[str, Word | None] = {
        "input": s.input,
        "cost_px": s.cost_px,
        "cost": cost(s),
        "steps": s.steps,
        "base": s.base,
        "lane": int(s.lane),
        "image_key": s.image_key,
        "webhook": s.webhook_url,
        "file_ttl_s": s.file_ttl_s,
        "keep_io": None if s.keep_io else 0,
        "retry": None if s.retry else 0,
        "max_running": s.max_running,
    }
    args: tuple[Word, ...] = (
        s.id,
        s.body_sha256,
        _or_empty(s.max_queue_length),
        _or_empty(s.start_timeout_ms),
        _or_empty(s.total_timeout_ms),
        _pack(s.rejection) if s.rejection else "",
        retention_s,
        s.tenant,
        _or_empty(s.max_queued),
        *(word for name, value in fields.items() if value is not None for word in (name, value)),
    )
    names = [keys.request(s.id)]
    if s.idempotency_key is not None:
        names.append(keys.idempotency(s.tenant, s.idempotency_key))
    return Command(scripts.load("submit"), tuple(names), args, decode.receipt)


def claim(
    worker: str,
    claim: str,
    *,
    budget_px: int,
    lease_ms: int,
    retention_s: int,
    avoided: Collection[str] = (),
) -> Command[Attempt | None]:
    """The best queued request if its pixels fit the budget. `claim` is an unguessable id, new for every attempt: where
    no answer came, asking again with the same one gets what was given, or as much as the first time. Requests of the
    tenants `avoided` are left for another worker, or for later."""
    args = (worker, claim, budget_px, lease_ms, retention_s, _START_TIMEOUT, _TOTAL_TIMEOUT, *avoided)
    return Command(scripts.load("claim"), (), args, lambda reply: decode.attempt(reply, claim))


def renew(presence: Presence, held: Sequence[Held], *, lease_ms: int) -> Command[dict[str, Lease]]:
    """What became of each held request, by its id. The worker's presence lasts as long as a lease, too."""
    proofs = (word for h in held for word in _proof(h))
    args = (presence.worker, json.dumps(asdict(presence)), lease_ms, *proofs)
    ids = [h.id for h in held]
    return Command(scripts.load("renew"), (keys.WORKER + presence.worker,), args, lambda r: decode.leases(r, ids))


def report(held: Held, note: Note) -> Command[Lease]:
    return Command(scripts.load("report"), (keys.request(held.id),), (*_proof(held), *_words(note)), decode.lease)


def show(held: Held, preview: Preview) -> Command[bool]:
    """Whether it was kept. Pokes nobody: a line of progress goes with it."""
    args = (*_proof(held), preview.step, preview.url)
    return Command(scripts.load("show"), (keys.request(held.id),), args, decode.yes)


def finish(
    held: Held,
    outcome: Outcome,
    *,
    suspect: bool = False,
    retention_s: int,
    retry_delay_ms: int = 0,
    last: Note | None = None,
) -> Command[Finish]:
    """A retryable outcome starts another attempt while there are any left, after the delay at the earliest. That of a
    `suspect`, which may have broken what it ran in, counts as a crash. `last` is what is still to be said of this one.
    """
    follows = "crash" if suspect else "retry" if outcome.retryable else "end"
    args: tuple[Word, ...] = (*_proof(held), _pack(outcome), follows, retry_delay_ms, _CANCELLED, retention_s)
    if last is not None:
        args += _words(last)
    return Command(scripts.load("finish"), (keys.request(held.id),), args, decode.finish)


def release(held: Held, *, retention_s: int) -> Command[Finish]:
    """Back to its old place; counts as no attempt. `retention_s` is for one whose cancellation had been asked for."""
    args = (*_proof(held), _CANCELLED, retention_s)
    return Command(scripts.load("release"), (keys.request(held.id),), args, decode.finish)


def cancel(id: str, tenant: str, *, retention_s: int) -> Command[Cancellation]:
    """Another tenant's request is as unknown as none."""
    args = (id, tenant, _CANCELLED, retention_s)
    return Command(scripts.load("cancel"), (keys.request(id),), args, decode.cancellation)


def expire(*, retention_s: int, limit: int = 100) -> Command[int]:
    """Fails queued requests whose start or total timeout has passed; how many."""
    return Command(scripts.load("expire"), (), (limit, _START_TIMEOUT, _TOTAL_TIMEOUT, retention_s), decode.count)


def rescue(*, retention_s: int, limit: int = 100) -> Command[Rescue]:
    """Expired leases, due retries, lost doorbells: `limit` of each."""
    args = (limit, _WORKER_LOST, _CANCELLED, retention_s)
    return Command(scripts.load("rescue"), (), args, decode.rescue)


def view(id: str) -> Command[View | None]:
    return Command(scripts.load("view"), (keys.request(id),), (id,), lambda reply: decode.view(reply, id))


def preview(id: str) -> Command[Preview | None]:
    """None unless an attempt is running that shows any."""
    return Command(scripts.load("preview"), (keys.request(id),), (), decode.preview)


def result(id: str) -> Command[Result | None]:
    """None, too, for one that is past its life and stays for its webhook only."""
    return Command(scripts.load("result"), (keys.request(id),), (), decode.result)


def events(id: str, *, after: str = "0", limit: int = 500) -> Command[list[Event]]:
    """The history after the entry `after`, oldest first. What is no entry id, as a client may send it, counts as 0."""
    start = after if decode.EVENT_ID.fullmatch(after) else "0"
    return Command(scripts.load("events"), (keys.events(id),), (start, limit), decode.events)


def deliver(*, limit: int, lease_ms: int) -> Command[list[Delivery]]:
    """Due webhooks, the caller's own until `lease_ms` from now."""
    return Command(scripts.load("deliver"), (), (limit, lease_ms), decode.deliveries)


def settle(id: str, attempt: int, *, retry_in_ms: int | None, delivered: bool) -> Command[None]:
    """How a delivery went. Not delivered and no `retry_in_ms`: given up. That it was delivered counts even after its
    lease, while somebody else tries again."""
    args = (id, attempt, _or_empty(retry_in_ms), int(delivered))
    return Command(scripts.load("settle"), (keys.request(id),), args, decode.nothing)


def postpone(id: str, attempt: int, *, by_ms: int) -> Command[None]:
    """A delivery that was taken but not tried is due again later, and did not count."""
    return Command(scripts.load("postpone"), (keys.request(id),), (id, attempt, by_ms), decode.nothing)


def quarantined(id: str = "", *, limit: int = 1000) -> Command[list[Case]]:
    """The requests that crashes made an end of, the latest first, for as long as their results are kept; or one."""
    return Command(scripts.load("quarantined"), (keys.QUARANTINE,), (limit, id), decode.cases)


def discharge(id: str, *, forget_input: bool) -> Command[bool]:
    """Strikes one off the quarantine; whether it was there."""
    names = (keys.QUARANTINE, keys.request(id))
    return Command(scripts.load("discharge"), names, (id, int(forget_input)), decode.yes)


def fleet() -> Command[Fleet]:
    return Command(scripts.load("fleet"), (), (), decode.fleet)


def bind_store(store_id: str) -> Command[str]:
    """The id in force: the caller's own, or that of whoever came first."""
    return Command(scripts.load("bind_store"), (keys.STORE,), (store_id,), decode.text)


def stored_keys(*, known: str = "") -> Command[StoredKeys]:
    """The keys that were made at run time, unless `known` is still their version."""
    return Command(scripts.load("stored_keys"), (keys.KEYS, keys.KEYS_VERSION), (known,), decode.stored_keys)


def keep_key(key: StoredKey, *, version: str) -> Command[bool]:
    """Whether it was written: not where the keys are not of that `version` any more."""
    names = (keys.KEYS, keys.KEYS_VERSION)
    return Command(scripts.load("keep_key"), names, (version, key.id, json.dumps(asdict(key))), decode.yes)


def hold_picture(file: str) -> Command[int]:
    """The courier is to delete this, the picture of a submission, soon; `submit` puts that off until its request has
    ended."""
    return Command(scripts.load("hold_picture"), (keys.FILES,), (file,), decode.count)


def expect_files(files: Sequence[str], at_ms: int, *, though_full: bool = False) -> Command[int]:
    """The courier is to delete these at `at_ms`, or from now on at this other time. `though_full`: a Redis that is full
    takes it, too, for results; it refuses an upload."""
    return Command(scripts.load("expect_files"), (keys.FILES,), (at_ms, int(though_full), *files), decode.count)


def due_files(limit: int) -> Command[list[str]]:
    return Command(scripts.load("due_files"), (keys.FILES,), (limit,), decode.texts)


def put_off_files(files: Sequence[str], *, by_ms: int) -> Command[int]:
    """Those of them that are still on the index are due again later, none sooner than was promised."""
    return Command(scripts.load("put_off_files"), (keys.FILES,), (by_ms, *files), decode.count)


def forget_files(files: Sequence[str], *, only_due: bool = False) -> Command[int]:
    """`only_due`: not those that were promised for longer since `due_files` named them."""
    return Command(scripts.load("forget_files"), (keys.FILES,), (int(only_due), *files), decode.count)


def _proof(held: Held) -> tuple[Word, ...]:
    return held.id, held.number, held.claim


def _words(note: Note) -> tuple[Word, ...]:
    return _or_empty(note.step), _or_empty(note.steps), note.message or "", note.level


def _or_empty(value: int | None) -> Word:
    return "" if value is None else value
