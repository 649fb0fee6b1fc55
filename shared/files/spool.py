"""A file of any size on its way from one place to another, without holding it in memory.

Small ones stay in memory, larger ones go to a file without a name: nothing is left of it after a crash.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from shared.files.base import StoreUnavailable

IN_MEMORY_BYTES: Final = 256 * 1024


@contextmanager
def spool(data_dir: Path) -> Generator[BinaryIO]:
    """A file that is gone after the block; when it grows, it lies in `{data_dir}/spool`. A full disk is
    `StoreUnavailable`."""
    folder = data_dir / "spool"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=str(folder)) as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise StoreUnavailable(f"The file cannot be kept: {error.strerror}") from error
