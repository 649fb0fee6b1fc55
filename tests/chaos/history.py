"""What happened, as seen from outside: one entry per observation, kept as JSON lines, and the queue as it was left.

Owns the shapes and the file. Draws no conclusions: those are `checker`'s. Times are milliseconds of the machine's
clock since the epoch, which is also Redis'.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar, cast

E = TypeVar("E", bound="Entry")


def now_ms() -> int:
    return round(time.time() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class Try(Entry):
    """A submit was sent. `token` names what the client wants, over all its tries; `keyed`: with an Idempotency-Key."""

    token: str
    keyed: bool
    fault: str
    """Which fault was being injected meanwhile."""
    hook: str
    """How the receiver of its webhook behaves; empty without a webhook."""
    wrong: bool = False
    """It breaks the schema: 422 is the only right answer, at once or as its result."""


@dataclass(frozen=True, slots=True)
class Ack(Entry):
    """A submit was answered with 200."""

    token: str
    request: str


@dataclass(frozen=True, slots=True)
class Refusal(Entry):
    """A submit was answered otherwise, or not at all (status 0)."""

    token: str
    status: int


@dataclass(frozen=True, slots=True)
class Poll(Entry):
    """A status answer; `at_ms` is when it came, `asked_ms` when it was asked for."""

    request: str
    status: str
    asked_ms: int


@dataclass(frozen=True, slots=True)
class Frame(Entry):
    """One whole event of a stream, over however many connections; `id` is None for one that is no history entry."""

    request: str
    id: str | None
    status: str


@dataclass(frozen=True, slots=True)
class Watched(Entry):
    """A stream came to its end: the server closed it after a last event."""

    request: str


@dataclass(frozen=True, slots=True)
class Answer(Entry):
    """What the result endpoint said of a complete request."""

    request: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Picture(Entry):
    """A result's link was followed; `status` 0 for no answer."""

    request: str
    status: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Cancel(Entry):
    """A cancellation was answered. `waiting`: when nobody had claimed the request, and nobody could."""

    request: str
    status: int
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Call(Entry):
    """A webhook's receiver got a whole body; `status` is its answer, 0 where it gave none."""

    token: str
    request: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Fetch(Entry):
    """Somebody asked for the picture that a request begins with."""

    token: str


@dataclass(frozen=True, slots=True)
class Intrusion(Entry):
    """A place was called that must never be."""

    what: str


@dataclass(frozen=True, slots=True)
class Claim(Entry):
    """Redis gave a request to a worker, whether or not the worker learned of it."""

    worker: str
    request: str
    number: int
    claim: str


@dataclass(frozen=True, slots=True)
class Finish(Entry):
    """Redis' answer to an offered outcome: accepted, cancelled, requeued or lost."""

    worker: str
    request: str
    number: int
    claim: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Injected(Entry):
    """A fault was made. `victims` are the requests that a killed worker held."""

    fault: str
    what: str
    part: str = ""
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unmade(Entry):
    """A fault that could not be made, or not be taken back: then nothing was shown."""

    fault: str
    why: str


ENTRIES: dict[str, type[Entry]] = {kind.__name__: kind for kind in Entry.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Stored:
    """A request as the queue keeps it. `events` are (entry id, state) in their order."""

    token: str
    state: str
    status: int | None
    body: str
    error_type: str | None
    attempts: int
    crashes: int
    webhook: bool
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Left:
    """The queue and the store at the end. `keys` are all keys with their TTL in ms, -1 for none; `indexes` the members
    that ought to be gone; `files` and `known_files` what lies in the store, and what the queue knows to delete."""

    requests: dict[str, Stored] = field(default_factory=dict[str, Stored])
    keys: dict[str, int] = field(default_factory=dict[str, int])
    indexes: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    work: int = 0
    files: tuple[str, ...] = ()
    known_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    entries: tuple[Entry, ...]
    left: Left


class Record:
    """Entries in memory and, line by line, in a file."""

    FILE: ClassVar = "history.jsonl"
    LEFT: ClassVar = "left.json"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.entries: list[Entry] = []
        self._file: IO[str] = (folder / self.FILE).open("a", encoding="utf-8", buffering=1)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._file.write(json.dumps({"kind": type(entry).__name__} | asdict(entry)) + "\n")

    def close(self, left: Left) -> History:
        self._file.close()
        (self.folder / self.LEFT).write_text(json.dumps(asdict(left)))
        return History(tuple(self.entries), left)

    @classmethod
    def read(cls, folder: Path) -> History:
        """What was kept. Raises FileNotFoundError for a run that came to no end."""
        lines = (folder / cls.FILE).read_text(encoding="utf-8").splitlines()
        return History(tuple(_entry(json.loads(line)) for line in lines), _left(folder / cls.LEFT))


def of_kind(entries: Iterable[Entry], kind: type[E]) -> list[E]:
    return [entry for entry in entries if isinstance(entry, kind)]


def _entry(fields: dict[str, Any]) -> Entry:
    kind = ENTRIES[fields.pop("kind")]
    return kind(**_frozen(fields))


def _left(path: Path) -> Left:
    fields: dict[str, Any] = json.loads(path.read_text())
    requests = {id: Stored(**stored) for id, stored in _frozen(fields.pop("requests")).items()}
    return Left(requests=requests, **_frozen(fields))


def _frozen(value: Any) -> Any:
    """JSON as it was before: tuples where it has lists."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in cast("list[Any]", value))
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in cast("dict[str, Any]", value).items()}
    return value
