"""Writing to a local disk so that a power cut leaves either the whole file or none of it.

Owns the order of writes and fsyncs. Knows nothing of keys.
"""

import fcntl
import os
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

_RACES = 100


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Nobody else is in this block for the same folder, in any process of this machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Creates it and what is missing above it, each name durable in the folder that holds it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in it durable: fsync of a file alone does not keep the file's name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(folder: Path, chunks: Iterable[bytes]) -> Path:
    """A new file in `folder` under a name of its own, its bytes durable, its name not yet."""
    path = folder / secrets.token_hex(16)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return path


def publish(*moves: tuple[Path, Path]) -> None:
    """Renames each first path to its second, in this order and all into one folder, and makes that durable.

    The folder is made when it is missing: it may be pruned by somebody who just emptied it, at any moment.
    """
    folder = moves[0][1].parent
    for source, target in moves:
        for race in range(_RACES):
            try:
                if race:
                    make_folder(folder)
                source.replace(target)
                break
            except FileNotFoundError:
                if race == _RACES - 1 or not source.exists():
                    raise
    sync_folder(folder)


def prune(folder: Path, root: Path) -> None:
    """Removes it and the folders above it, as far as they are empty, but never `root`."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
