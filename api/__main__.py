"""`python -m api`: one process that serves until SIGTERM or SIGINT. Wrong settings end it with code 2 and one line."""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from api.readiness import bind_store
from api.server import Server, make_server
from api.settings import ApiSettings
from shared import logs
from shared.errors import ServiceUnavailable, WrongSetting
from shared.files.base import StoreUnavailable
from shared.heaps import share_heaps
from shared.settings import load

_log = logging.getLogger(__name__)


def main() -> int:
    share_heaps()
    try:
        settings = load(ApiSettings)
        logs.configure("api", level=settings.log_level)
        _run(settings)
    except WrongSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    except StoreUnavailable as error:
        sys.stderr.write(f"STORAGE_URL: {error.message}\n")
        return 2
    return 0


def _run(settings: ApiSettings) -> None:
    _allow_many_connections()
    server = make_server(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)  # uvicorn raises the signal once more when it has come to rest
    make_loop = server.config.get_loop_factory()
    with _pid_file(settings.data_dir / "run" / "api.pid"), asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_serve(server))


def _allow_many_connections() -> None:
    """As many as the system lets us have: the usual soft limit of 1024 is for programs that call `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # an unlimited one is refused by some systems
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(server: Server) -> None:
    try:
        await bind_store(server.context.redis, server.context.store)
    except (ServiceUnavailable, StoreUnavailable) as error:
        _log.warning("not ready yet: %s", error.message)  # /ready says when it is
    await server.serve()


@contextmanager
def _pid_file(path: Path) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
