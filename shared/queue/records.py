"""What goes into the queue's transitions and what comes out of them. Frozen, without behaviour.

Times are milliseconds of Redis' own clock since the epoch (`_ms`) unless a name says otherwise; nobody's
own clock takes part in a decision.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.queue.states import Lane, State


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: everything that its result endpoint and its webhook will say.

    `body` is the JSON text of the result, replayed unparsed with HTTP `status`; above 64 KB it is empty
    and `body_key` names the object in the store that holds it. `error` and `error_type` are None on success.
    `retryable` lets the queue start another attempt instead, while attempts are left.
    """

    state: State
    status: int
    body: str
    body_key: str | None = None
    error: str | None = None
    error_type: str | None = None
    retryable: bool = False
    inference_s: float | None = None
    gpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One accepted call, complete and immutable: nothing about it is looked up again later.

    `input` is the JSON of a validated `wire.image.Input` with its seed fixed. `image_key` is set where the
    picture already lies in our store (a data: URI, or one of our own file links); then nothing is fetched.
    `cost_px` is pixels × pictures of the result, an upper bound where the size is not yet known. `base` is what
    every link about this request starts with. `rejection` makes it complete at once: a body that breaks the
    schema has a request id on fal, too. `max_running` and `max_queued` are the tenant's limits as they are now.
    """

    id: str
    tenant: str
    input: str
    cost_px: int
    steps: int
    base: str
    lane: Lane = Lane.NORMAL
    image_key: str | None = None
    webhook_url: str | None = None
    start_timeout_ms: int | None = None
    total_timeout_ms: int | None = None
    file_ttl_s: int | None = None
    keep_io: bool = True
    retry: bool = True
    max_queue_length: int | None = None
    max_running: int | None = None
    max_queued: int | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""
    rejection: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgement of a submission. `replayed`: an Idempotency-Key matched and `id` is the earlier one."""

    id: str
    position: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """The proof of holding a request: every write of a worker carries it and is refused without it."""

    id: str
    number: int
    claim: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a request, as `claim` hands it to a worker."""

    held: Held
    tenant: str
    input: str
    image_key: str | None
    base: str
    cost_px: int
    lease_until_ms: int
    total_timeout_ms: int | None
    """Milliseconds left from now until the total deadline, if there is one."""
    file_ttl_s: int | None
    keep_io: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What a worker says of an attempt: progress (`step` of `steps`, both or neither), a log line, or both."""

    step: int | None = None
    steps: int | None = None
    message: str | None = None
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a running attempt is about to become, as of `step`. `url` is a data: URI of a few kilobytes."""

    step: int
    url: str


class Lease(StrEnum):
    """What a worker learns about a request it holds from `renew` and `report`."""

    KEPT = "kept"
    CANCEL = "cancel"
    """Kept, but its owner wants it stopped."""
    LOST = "lost"
    """It belongs to somebody else now. Drop it; nothing written for it will be accepted."""


class Finish(StrEnum):
    """What became of an outcome that a worker offered."""

    ACCEPTED = "accepted"
    CANCELLED = "cancelled"
    """Accepted, but as a cancellation: it had been asked for before."""
    REQUEUED = "requeued"
    LOST = "lost"


class Cancellation(StrEnum):
    CANCELLED = "cancelled"
    REQUESTED = "requested"
    COMPLETED = "completed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class View:
    """What a status answer needs, read in one go. `position` counts the requests ahead, while queued."""

    id: str
    tenant: str
    state: State
    base: str
    position: int | None
    attempts: int
    cancel_requested: bool
    step: int
    steps: int
    created_ms: int
    started_ms: int | None
    finished_ms: int | None
    now_ms: int
    error: str | None
    error_type: str | None
    inference_s: float | None
    gpu_s: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a result answer needs. `status` and the bodies are None/empty until `state` is final."""

    tenant: str
    state: State
    status: int | None
    body: str
    body_key: str | None
    error_type: str | None
    start_timed_out: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a request's history. `id` orders them and is what `Last-Event-ID` names.

    Each carries the state that held after it, so that a reader who resumes needs no earlier entry.
    `message` and `level` are set on log lines, `step` on progress.
    """

    id: str
    state: State
    at_ms: int
    message: str | None = None
    level: str | None = None
    step: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook that is due. `attempt` counts from 1; `outcome` is what the body is made from."""

    id: str
    tenant: str
    url: str
    attempt: int
    state: State
    status: int
    body: str
    body_key: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Presence:
    """What a live worker says of itself with every renewal. `px_per_s` is step-pixels a second, 0 if unknown; `busy`
    the share of the time since the last renewal in which its engine stepped, or prepared for it.

    It is read by processes of other versions: whoever adds a field gives it a default, for workers that do not say it.
    """

    worker: str
    model: str
    device: str
    ready: bool
    draining: bool
    running: int
    free_px: int
    px_per_s: float
    concurrency: int
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The queue and its workers at one moment.

    `queued` counts those that wait for a retry, too, and the `parked` ones, whose tenants run as many as they may.
    `oldest_queued_ms` is when the longest waiting of the lanes' heads was submitted. `queued_cost` is the
    step-megapixels of all queued: an estimate of the wait is this, shared among the workers' rates.
    """

    workers: tuple[Presence, ...]
    queued: int
    parked: int
    running: int
    oldest_queued_ms: int | None
    queued_cost: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Case:
    """A request in quarantine: every worker that ran it crashed, `worker` was the last. `submission` is what it asked
    for, without whom to tell; None where its owner wanted nothing kept."""

    id: str
    tenant: str
    crashes: int
    attempts: int
    worker: str
    created_ms: int
    failed_ms: int
    submission: Submission | None


_Moment = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""In ms, before the year 10000: Python knows no later one."""
_Most = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a key's secret: the SHA-256 of `id:secret`, hexadecimal. None: valid until it is replaced."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    until_ms: _Moment | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that was made at run time. None in a limit means the server's default, 0 that there is none. It is read by
    processes of other versions: whoever adds a field gives it a default."""

    id: str
    secrets: tuple[Secret, ...]
    max_running: _Most | None = None
    max_queued: _Most | None = None
    revoked: bool = False
    created_ms: _Moment = 0

    @property
    def readable(self) -> bool:
        """Whether this version knows what is kept of it. One that it cannot read has no secret: nobody is let in."""
        return self.revoked or bool(self.secrets)


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """`keys` is None where the caller has this version already."""

    now_ms: int
    version: str
    keys: tuple[StoredKey, ...] | None


@dataclass(frozen=True, slots=True)
class Rescue:
    """What one round of the rescuer did."""

    requeued: int
    failed: int
    cancelled: int
    rung: int
