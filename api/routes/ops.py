"""For those who run, watch and explore the server: health, readiness, metrics, the OpenAPI document, public keys.

None of it needs a key; none of it tells anything about a request.
"""

import json
import time
from dataclasses import asdict
from importlib.resources import files

from prometheus_client import CollectorRegistry, Gauge
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api import openapi
from api.context import Context, context_of
from api.errors import json_response
from api.origins import base_of
from api.page import page_headers
from api.readiness import Probe
from shared import metrics
from shared.errors import ServiceUnavailable, UnknownPath
from shared.queue import commands
from shared.queue.records import Fleet


class FleetGauges:
    """What the queue says of itself at a scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge("kolors_redis_up", "Whether Redis answers", registry=registry)
        self._queued = Gauge("kolors_queue_depth", "Requests that wait", registry=registry)
        self._running = Gauge("kolors_running", "Requests that workers hold", registry=registry)
        self._oldest = Gauge("kolors_queue_oldest_seconds", "Age of the oldest that waits", registry=registry)
        self._workers = Gauge("kolors_workers", "Live workers by state", ("state",), registry=registry)
        self._busy = Gauge(
            "kolors_workers_busy", "How busy their engines were lately, 0 to 1, on average", registry=registry
        )
        self._free = Gauge("kolors_workers_free_px", "Pixels that workers could take on", registry=registry)

    async def read(self, context: Context) -> None:
        try:
            fleet = await context.run(commands.fleet())
        except ServiceUnavailable:
            self._up.set(0)
            return
        self._up.set(1)
        self._show(fleet)

    def _show(self, fleet: Fleet) -> None:
        self._queued.set(fleet.queued)
        self._running.set(fleet.running)
        since_ms = fleet.oldest_queued_ms
        self._oldest.set(0 if since_ms is None else max(0.0, time.time() - since_ms / 1000))
        self._free.set(sum(worker.free_px for worker in fleet.workers))
        self._busy.set(sum(worker.busy for worker in fleet.workers) / max(1, len(fleet.workers)))
        states = ["draining" if worker.draining else "ready" if worker.ready else "loading" for worker in fleet.workers]
        for state in ("ready", "loading", "draining"):
            self._workers.labels(state).set(states.count(state))


class Ops:
    def __init__(self, context: Context, registry: CollectorRegistry) -> None:
        self._probe = Probe(context.redis, context.store, context.keyring)
        self._registry = registry
        self._gauges = FleetGauges(registry)
        self._page = files("api").joinpath("playground/index.html").read_bytes()
        self._page_headers = page_headers(self._page)
        self._jwks = json.dumps(context.signing_keys.jwks()).encode()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.document),
            Route("/api/openapi/queue/openapi.json", self.document_of),
            Route("/.well-known/jwks.json", self.jwks),
            Route("/", self.index),
        ]

    async def health(self, request: Request) -> Response:
        """The process answers; nothing else is looked at, so that nobody restarts it for another's fault."""
        del request
        return json_response(200, b'{"status":"ok"}')

    async def ready(self, request: Request) -> Response:
        del request
        state = await self._probe.look()
        body = {"status": "ready" if state.is_ready else "not ready", **asdict(state)}
        return json_response(200 if state.is_ready else 503, json.dumps(body).encode(), {"retry-after": "1"})

    async def metrics(self, request: Request) -> Response:
        await self._gauges.read(context_of(request))
        return Response(metrics.text(self._registry), headers={"content-type": metrics.CONTENT_TYPE})

    async def document(self, request: Request) -> Response:
        return json_response(200, json.dumps(openapi.document(base_of(request))).encode())

    async def document_of(self, request: Request) -> Response:
        """At the address, and under the name, at which fal has it."""
        asked = request.query_params.get("endpoint_id")
        if asked != openapi.ENDPOINT_ID:
            raise UnknownPath(f"Endpoint {(asked or '')[:200]!r} not found")
        return await self.document(request)

    async def jwks(self, request: Request) -> Response:
        del request
        return json_response(200, self._jwks, {"cache-control": "public, max-age=3600"})

    async def index(self, request: Request) -> Response:
        del request
        return Response(self._page, headers=self._page_headers, media_type="text/html")
