"""Where the others look for this process: `$DATA_DIR/run/{name}.pid`, written by the process itself."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pid_file(data_dir: Path, name: str) -> Generator[None]:
    """There for the length of the block. Leaves alone what a successor wrote meanwhile."""
    path = data_dir / "run" / f"{name}.pid"
    own = f"{os.getpid()}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(own)
    try:
        yield
    finally:
        if path.exists() and path.read_text() == own:
            path.unlink()
