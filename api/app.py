"""The composition root of the API: the only place that opens things and wires them together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from api import errors
from api.auth import Keyring
from api.body import Room
from api.context import Context
from api.edge import Edge
from api.grants import Grants
from api.hub import Hub
from api.origins import Origins, not_found
from api.routes import queue, run
from api.routes.files import Files
from api.routes.ops import Ops
from api.routes.storage import Storage
from api.settings import ApiSettings
from api.stored_keys import StoredKeys
from api.turns import Turns
from api.upkeep import keep_up
from shared.errors import Error, UnknownPath
from shared.files.open import open_store
from shared.metrics import HttpMetrics
from shared.queue.connect import open_async
from shared.queue.pipe import Pipe
from shared.queue.pokes import Pokes
from shared.wire.webhook import load_or_create_keys


def create_app(settings: ApiSettings) -> FastAPI:
    """The whole API as one ASGI application; its `state.context` is what the routes work with.

    Opens no connection yet. Raises `WrongSetting` and `StoreUnavailable`. The application belongs to one event loop.
    """
    context = _open(settings)
    registry = _registry()
    grants = Grants.of_folder(settings.keys_dir)
    app = FastAPI(
        routes=[
            *queue.routes(),
            *run.routes(),
            *Storage(grants).routes(),
            *Files(grants).routes(),
            *Ops(context, registry).routes(),
        ],
        openapi_url=None,  # `api.openapi` writes fal's own form of the document
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `api.edge` measures; asking each time is dear
        lifespan=_lifespan,
        redirect_slashes=False,
        middleware=[Middleware(Edge, metrics=HttpMetrics(registry)), Middleware(Origins, settings=settings)],
        exception_handlers={HTTPException: _of_router, Error: _of_ours},
    )
    app.state.context = context
    return app


def _open(settings: ApiSettings) -> Context:
    redis = open_async(settings.redis_url)
    return Context(
        settings=settings,
        redis=Pipe(redis),
        store=open_store(settings),
        hub=Hub(Pokes(redis)),
        room=Room(settings.max_bodies_bytes),
        upload_room=Room(settings.max_uploads_bytes),
        upload_turns=Turns(),
        keyring=Keyring(
            settings.api_keys,
            required=settings.require_key,
            max_running=settings.key_max_running,
            max_queued=settings.key_max_queued,
            known=False,
        ),
        signing_keys=load_or_create_keys(settings.keys_dir),
    )


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    context: Context = app.state.context
    stored = StoredKeys(context.redis, context.keyring)
    await stored.load()
    tasks = [
        asyncio.create_task(keep_up(name, work)) for name, work in (("pokes", context.hub.run), ("keys", stored.run))
    ]
    try:
        yield
    finally:
        context.hub.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await context.redis.aclose()


async def _of_router(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, in fal's words, or a wrong method."""
    if isinstance(error, HTTPException) and error.status_code == 404:
        return errors.answer(UnknownPath(not_found(request.scope["path"])))
    return errors.answer(error)


async def _of_ours(request: Request, error: Exception) -> Response:
    del request
    return errors.answer(error)
