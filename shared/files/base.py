"""The protocol that both stores keep.

Keys are relative paths of safe segments: `[A-Za-z0-9._-]+` joined by `/`, no segment beginning with a dot,
at most 512 characters (`files.keys`). No key is a folder of another. All methods block; the API calls them in
threads. Objects are never overwritten with other content: whoever writes chooses an unguessable key.
A `BinaryIO` that is stored must be seekable, and is read from where it stands to its end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from shared.errors import Error

PARTS_S: Final = 24 * 3600
"""How long whoever began an upload in parts may take for it, in seconds."""


class FileMissing(Error):
    """There is no such file."""


class StoreUnavailable(Error):
    """The file store cannot answer right now."""


class AlreadyThere(Error):
    """Something is kept under this name, and the call asked not to replace it."""


class PartsMismatch(Error):
    """The named parts are not the ones that were uploaded."""


class PartsTooLarge(Error):
    """The parts together are larger than they may be."""


@dataclass(frozen=True, slots=True)
class Stat:
    size_bytes: int
    content_type: str
    etag: str
    expires_at: datetime | None
    """Timezone-aware; past it the file must not be served any more even if the sweep has not come by."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """The HTTP server may send this file itself."""

    path: Path


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The HTTP server should redirect to this address, which works for a short while only."""

    url: str


Location = OnDisk | Elsewhere


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    etag: str


class Store(Protocol):
    """Raises `FileMissing` where a key names nothing and `StoreUnavailable` where the store is away or full."""

    @property
    def id(self) -> str:
        """Names the place, made once and kept in it: two processes that see one id share their files."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether it is a disk of this machine, and reading a small file no wait."""
        ...

    def put(
        self,
        key: str,
        content: BinaryIO | bytes,
        *,
        content_type: str,
        expires_at: datetime | None,
        only_new: bool = False,
    ) -> Stat:
        """Durable when it returns; never visible half-written.

        With `only_new` a file that is there stays: raises `AlreadyThere`. Of two that come at the same moment one wins
        (in a bucket, if its server knows `If-None-Match`).
        """
        ...

    def stat(self, key: str) -> Stat: ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` in chunks. Raises before the first chunk, not in the middle."""
        ...

    def delete(self, key: str) -> None:
        """Idempotent."""
        ...

    def locate(self, key: str, stat: Stat) -> Location:
        """How an HTTP server hands the file to somebody who was given its link."""
        ...

    def begin_multipart(self, key: str, *, content_type: str, expires_at: datetime | None) -> str:
        """An upload id. Parts may then arrive in any order, several at once, and again."""
        ...

    def put_part(self, key: str, upload: str, number: int, content: BinaryIO, *, most_bytes: int) -> Part:
        """Takes the place of what came under this number before. Of two that are sent at once, either may stay.

        Raises `PartsTooLarge` where it and all other numbers together have more than `most_bytes`, and what was there
        stays. Parts that are in flight at once may pass that bound together, by no more than their own bytes; in a
        folder only those of different machines. Raises `FileMissing` once the upload is completed or dropped.
        """
        ...

    def complete_multipart(self, key: str, upload: str, parts: Sequence[Part]) -> Stat:
        """Joins the named parts in the order of their numbers. Once done, doing it again answers the same.

        Raises `PartsMismatch` where one was never uploaded, has been replaced, or is too small to be joined.
        """
        ...

    def drop_unfinished(self, *, before: datetime) -> int:
        """Removes uploads begun before then and not completed, and says how many those were. Whether parts still come
        is no matter. Where one cannot be removed, raises `StoreUnavailable`, in a folder when it has tried all."""
        ...

    def check(self) -> None:
        """Returns if the store can take a file now."""
        ...
