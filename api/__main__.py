"""`python -m api`: one process that serves until SIGTERM or SIGINT. Wrong settings end it with code 2 and one line."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from api.app import create_app
from api.context import Context
from api.readiness import bind_store
from api.settings import ApiSettings
from shared import logs
from shared.errors import ServiceUnavailable, WrongSetting
from shared.files.base import StoreUnavailable
from shared.settings import load

_STREAMS_END_S = 3
_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Lets streams and synchronous runs know first when the process is to end: they would keep it waiting."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._context.hub.close()
        await super().shutdown(sockets)


def main() -> int:
    try:
        settings = load(ApiSettings)
        logs.configure("api", level=settings.log_level)
        return serve(settings)
    except WrongSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    except StoreUnavailable as error:
        sys.stderr.write(f"STORAGE_URL: {error.message}\n")
        return 2


def serve(settings: ApiSettings) -> int:
    app = create_app(settings)
    context: Context = app.state.context
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `api.origins` decides whom to believe
        server_header=False,
        timeout_keep_alive=75,  # longer than clients and balancers keep theirs: they never write into a closing one
        timeout_graceful_shutdown=round(settings.shutdown_grace_s) + _STREAMS_END_S,
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise WrongSetting("TLS_CERT_FILE", f"cannot be used: {error}") from error
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)  # uvicorn raises the signal once more when it has come to rest
    with (
        _pid_file(settings.data_dir / "run" / "api.pid"),
        asyncio.Runner(loop_factory=config.get_loop_factory()) as loop,
    ):
        loop.run(_serve(Server(config, context), context))
    return 0


async def _serve(server: Server, context: Context) -> None:
    try:
        await bind_store(context.redis, context.store)
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
