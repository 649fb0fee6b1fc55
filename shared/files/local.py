"""Files in a folder of this machine, for one host or for several that mount the same file system.

    root/.store-id              names this place
    root/results/3f/a.png           the content of key results/3f/a.png
    root/results/3f/.a.png.json     what is known about it; there before the content is, and until after it is gone
    root/.incoming/             files being written
    root/.parts/{upload}/       parts of an upload that is not complete, each under its number and its etag

Names beginning with a dot are no keys, so nothing collides. Knows nothing of HTTP.
"""

import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from shared.files import durable
from shared.files.about import About
from shared.files.base import (
    AlreadyThere,
    FileMissing,
    Location,
    OnDisk,
    Part,
    PartsMismatch,
    PartsTooLarge,
    Stat,
    StoreUnavailable,
)
from shared.files.keys import is_key

_CHUNK_BYTES = 256 * 1024
_SPARE_BYTES = 64 * 1024 * 1024
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_ETAG = re.compile(r"[0-9a-f]{64}")
_GONE = ".gone"


class LocalStore:
    """Implements `files.base.Store`. Creating it makes the folder and its id where they are missing."""

    def __init__(self, root: Path) -> None:
        with _writing():
            root.mkdir(parents=True, exist_ok=True)
            self._root = root.resolve()
            self._incoming = self._root / ".incoming"
            self._parts = self._root / ".parts"
            for folder in (self._incoming, self._parts):
                durable.make_folder(folder)
            self._id = self._find_id()

    @property
    def id(self) -> str:
        return self._id

    @property
    def is_local(self) -> bool:
        return True

    def put(
        self,
        key: str,
        content: BinaryIO | bytes,
        *,
        content_type: str,
        expires_at: datetime | None,
        only_new: bool = False,
    ) -> Stat:
        with _writing():
            path, size_bytes, etag = self._receive(BytesIO(content) if isinstance(content, bytes) else content)
            return self._publish(key, path, size_bytes, About(content_type, etag, expires_at), only_new=only_new)

    def stat(self, key: str) -> Stat:
        path = self._path(key)
        with _reading():
            about = About.from_json(_sidecar(path).read_text())
            return about.stat(path.stat(follow_symlinks=False).st_size)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        chunks = self._chunks(self._path(key), start, length)
        next(chunks)  # opens the file, so that a missing one is known before the first chunk is asked for
        return chunks

    def delete(self, key: str) -> None:
        try:
            path = self._path(key)
        except FileMissing:
            return
        with _writing():
            path.unlink(missing_ok=True)
            _sidecar(path).unlink(missing_ok=True)
            durable.prune(path.parent, self._root)

    def locate(self, key: str, stat: Stat) -> Location:
        del stat
        return OnDisk(self._path(key))

    def begin_multipart(self, key: str, *, content_type: str, expires_at: datetime | None) -> str:
        upload = secrets.token_hex(16)
        folder = self._upload(key, upload)
        with _writing():
            folder.mkdir()
            (folder / "about.json").write_text(About(content_type, "", expires_at).to_json())
        return upload

    def put_part(self, key: str, upload: str, number: int, content: BinaryIO, *, most_bytes: int) -> Part:
        folder = self._upload(key, upload)
        if not folder.is_dir():
            raise FileMissing
        with _writing():
            path, size_bytes, etag = self._receive(content)
            try:
                with _alone(folder):
                    earlier = set(folder.glob(f"{number}-*"))
                    others = set(folder.glob("*-*")) - earlier
                    if sum(map(_size_bytes, others)) + size_bytes > most_bytes:
                        raise PartsTooLarge
                    target = path.replace(folder / f"{number}-{etag}")
                    durable.sync_folder(folder)
                    for part in earlier - {target}:  # listed before ours came: of two machines none removes both
                        part.unlink(missing_ok=True)
            finally:
                path.unlink(missing_ok=True)
        return Part(number, etag)

    def complete_multipart(self, key: str, upload: str, parts: Sequence[Part]) -> Stat:
        folder = self._upload(key, upload)
        with _writing(), suppress(FileMissing, AlreadyThere), _alone(folder):
            begun = About.from_json((folder / "about.json").read_text())
            paths = _in_order(folder, parts)
            etag = hashlib.sha256("".join(path.name for path in paths).encode()).hexdigest()
            path = durable.write(self._incoming, (chunk for part in paths for chunk in self._chunks(part, 0, None)))
            about = About(begun.content_type, etag, begun.expires_at)
            stat = self._publish(key, path, path.stat().st_size, about, only_new=True)
            with suppress(OSError):  # drop_unfinished tries again
                _remove(folder)
            return stat
        return self.stat(key)  # it was completed before, or twice at once: the first of them counts

    def drop_unfinished(self, *, before: datetime) -> int:
        dropped, failures = 0, list[OSError]()
        with _writing():
            for folder in self._parts.iterdir():
                with _collecting(failures):
                    if folder.suffix == _GONE or _is_older(_begun(folder), before):
                        _remove(folder)
                        dropped += 1
            for path in self._incoming.iterdir():
                with _collecting(failures):
                    if _is_older(path, before):
                        path.unlink(missing_ok=True)
            if failures:
                raise failures[0]
        return dropped

    def check(self) -> None:
        with _writing():
            if shutil.disk_usage(self._root).free < _SPARE_BYTES:
                raise StoreUnavailable("The disk of the file store is full.")
            durable.write(self._incoming, [b"?"]).unlink()

    def _path(self, key: str) -> Path:
        """Where it lies or would lie. Raises `FileMissing` for what is no key or leads out through a link."""
        if not is_key(key):
            raise FileMissing
        path = str(self._root)
        for name in key.split("/"):
            path = f"{path}/{name}"
            if os.path.islink(path):  # noqa: PTH114 - a Path for each segment costs more than asking
                raise FileMissing
        return Path(path)

    def _receive(self, source: BinaryIO) -> tuple[Path, int, str]:
        """What is left of the source as a durable file without a key, its bytes, and its etag."""
        digest, size_bytes = hashlib.sha256(), 0

        def chunks() -> Iterator[bytes]:
            nonlocal size_bytes
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                yield chunk

        path = durable.write(self._incoming, chunks())
        return path, size_bytes, digest.hexdigest()

    def _publish(self, key: str, path: Path, size_bytes: int, about: About, *, only_new: bool) -> Stat:
        target = self._path(key)
        sidecar = durable.write(self._incoming, [about.to_json().encode()])
        with durable.alone(self._incoming) if only_new else nullcontext():
            if only_new and target.exists():
                sidecar.unlink()
                path.unlink()
                raise AlreadyThere
            durable.publish((sidecar, _sidecar(target)), (path, target))
        return about.stat(size_bytes)

    def _upload(self, key: str, upload: str) -> Path:
        """The folder of its parts, whose name binds the upload to its key."""
        if not is_key(key) or not _UPLOAD.fullmatch(upload):
            raise FileMissing
        return self._parts / f"{upload}-{hashlib.sha256(key.encode()).hexdigest()}"

    def _find_id(self) -> str:
        target = self._root / ".store-id"
        if not target.exists():
            path = durable.write(self._incoming, [secrets.token_hex(16).encode()])
            with suppress(FileExistsError):
                target.hardlink_to(path)  # unlike a rename, it leaves the id of whoever came first
            path.unlink()
            durable.sync_folder(self._root)
        return target.read_text()

    @staticmethod
    def _chunks(path: Path, start: int, length: int | None) -> Iterator[bytes]:
        with _reading(), path.open("rb", buffering=0) as file:
            file.seek(start)
            yield b""
            left = sys.maxsize if length is None else length
            while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


def _sidecar(path: Path) -> Path:
    return path.parent / f".{path.name}.json"


def _in_order(folder: Path, parts: Sequence[Part]) -> list[Path]:
    numbers = {part.number for part in parts}
    ordered = sorted(parts, key=lambda part: part.number)
    paths = [folder / f"{part.number}-{part.etag}" for part in ordered if _ETAG.fullmatch(part.etag)]
    if not parts or len(numbers) != len(parts) or len(paths) != len(parts) or not all(map(Path.is_file, paths)):
        raise PartsMismatch
    return paths


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """With the parts of one upload, on this machine. Raises `FileMissing` where they are gone, or go meanwhile."""
    try:
        with durable.alone(folder):
            yield
    except FileNotFoundError as error:
        raise FileMissing from error


def _begun(folder: Path) -> Path:
    """What is as old as the upload: its folder gets younger with each part."""
    about = folder / "about.json"
    return about if about.exists() else folder


def _is_older(path: Path, moment: datetime) -> bool:
    with suppress(FileNotFoundError):  # it was being written, and has got its place
        return path.stat().st_mtime < moment.timestamp()
    return False


def _size_bytes(path: Path) -> int:
    with suppress(FileNotFoundError):  # another machine replaced it
        return path.stat().st_size
    return 0


def _remove(folder: Path) -> None:
    """All parts of an upload at once, so that none comes in between, and after a crash there are not only some."""
    with suppress(FileNotFoundError):
        gone = folder if folder.suffix == _GONE else folder.rename(f"{folder}{_GONE}")
        shutil.rmtree(gone, ignore_errors=True)
        gone.rmdir()  # it is still there only if something in it could not be removed, and then this says so


@contextmanager
def _collecting(failures: list[OSError]) -> Generator[None]:
    try:
        yield
    except OSError as error:
        failures.append(error)


@contextmanager
def _reading() -> Generator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise FileMissing from error
    except (OSError, ValueError, KeyError) as error:
        raise StoreUnavailable(f"The file store cannot be read: {error}") from error


@contextmanager
def _writing() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"The file store cannot be written: {error.strerror}") from error
