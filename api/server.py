"""The HTTP server around the application: its options, and an end that open streams do not hold up."""

import gc
import socket
import ssl

import uvicorn

from api.app import create_app
from api.context import Context
from api.settings import ApiSettings
from api.wires import Protocol
from shared.errors import WrongSetting

_STREAMS_END_S = 3


class Server(uvicorn.Server):
    """Lets streams and synchronous runs know first when the process is to end: they would keep it waiting."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self.context = context

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what was made so far stays: no need to look through it again under load

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.context.hub.close()
        await super().shutdown(sockets)


def make_server(settings: ApiSettings) -> Server:
    """Ready to `serve()`. Raises `WrongSetting` and `StoreUnavailable`."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        loop="uvloop",
        http=Protocol,
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
    return Server(config, app.state.context)
