"""fal's REST origin for uploads: who may upload, and where to.

    POST /storage/auth/token                  a token for the CDN origin, as fal's Python client asks for one
    POST /storage/upload/initiate             an address for one PUT
    POST /storage/upload/initiate-multipart   an address for PUTs of parts, as fal's JavaScript client sends them

The query's `storage_type` makes no difference here. The addresses lead to `routes.files`.
"""

import json
import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.body import received
from api.context import context_of
from api.errors import json_response
from api.grants import Grant, Grants, Purpose
from api.origins import base_of
from api.uploads import Uploads
from shared.errors import BadRequest
from shared.files import keys

_SESSION_S = 3600
_BODY_BYTES = 64 * 1024


class Storage:
    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/storage/auth/token", self.token, methods=["POST"]),
            Route("/storage/upload/initiate", self.initiate, methods=["POST"]),
            Route("/storage/upload/initiate-multipart", self.initiate_multipart, methods=["POST"]),
        ]

    async def token(self, request: Request) -> Response:
        tenant = context_of(request).tenant(request)
        until_s = int(time.time()) + _SESSION_S
        body = {
            "token": self._grants.write(Grant(Purpose.SESSION, tenant, until_s)),
            "token_type": "Bearer",
            "base_url": base_of(request),
            "expires_at": datetime.fromtimestamp(until_s, UTC).isoformat(),  # with +00:00: old Pythons read no Z
        }
        return json_response(200, json.dumps(body).encode())

    async def initiate(self, request: Request) -> Response:
        uploads, place = await self._place(request)
        return self._addresses(request, uploads.open(place))

    async def initiate_multipart(self, request: Request) -> Response:
        uploads, place = await self._place(request)
        return self._addresses(request, await uploads.begin(place))

    async def _place(self, request: Request) -> tuple[Uploads, Grant]:
        context = context_of(request)
        tenant = context.tenant(request)
        try:
            async with received(request, context.room, tenant, _BODY_BYTES) as text:
                body: dict[str, object] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRequest("The body is no JSON") from error
        if not isinstance(body, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadRequest("The body must be a JSON object")
        uploads = Uploads(context, self._grants)
        return uploads, uploads.place(request, tenant, body.get("file_name"), body.get("content_type"))

    def _addresses(self, request: Request, place: Grant) -> Response:
        """The grant is in the query: fal's JavaScript client appends to the path and keeps the query."""
        link = keys.link(base_of(request), place.key)
        body = {"upload_url": f"{link}?grant={self._grants.write(place)}", "file_url": link}
        return json_response(200, json.dumps(body).encode())
