"""fal's CDN origin: every link to a file, and the uploads that go there.

GET  /files/{key}                              the file
POST /files/upload                             a whole file, by token or key
POST /files/upload/multipart                   begins one in parts, which fal's Python client sends to
PUT  /files/{key}/multipart/{upload}/{n}           …
POST /files/{key}/multipart/{upload}/complete      …
PUT  /files/{key}?grant=…                      what `routes.storage` gave an address for: a whole file,
PUT  /files/{key}/{n}?grant=…                      or its parts, as fal's JavaScript client sends them
POST /files/{key}/complete?grant=…                 …
"""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api import serving
from api.body import received
from api.context import context_of
from api.errors import json_response
from api.grants import Grant, Grants, Purpose
from api.origins import base_of
from api.uploads import Uploads
from shared.errors import BadCredentials, BadRequest
from shared.files import keys
from shared.files.base import Part
from shared.wire.headers import FILE_NAME

_COMPLETE_BYTES = 2 * 1024 * 1024
_LONGEST_NUMBER = 9
_PARTS = "/files/{key:path}/multipart/{upload}"


class Files:
    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/files/upload", self.upload, methods=["POST"]),
            Route("/files/upload/multipart", self.begin, methods=["POST"]),
            Route(f"{_PARTS}/complete", self.complete, methods=["POST"]),
            Route(f"{_PARTS}/{{number}}", self.part, methods=["PUT"]),
            Route("/files/{path:path}", self.granted, methods=["PUT"]),
            Route("/files/{path:path}", self.granted_complete, methods=["POST"]),
            Route("/files/{key:path}", serving.serve, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        uploads, place = self._new(request)
        await uploads.receive(request, place)
        return json_response(200, json.dumps({"access_url": keys.link(base_of(request), place.key)}).encode())

    async def begin(self, request: Request) -> Response:
        uploads, place = self._new(request)
        begun = await uploads.begin(place)
        body = {"access_url": keys.link(base_of(request), begun.key), "uploadId": self._grants.write(begun)}
        return json_response(200, json.dumps(body).encode())

    async def part(self, request: Request) -> Response:
        uploads, place = self._of_path(request)
        return _part_answer(await uploads.receive_part(request, place, _number(request.path_params["number"])))

    async def complete(self, request: Request) -> Response:
        uploads, place = self._of_path(request)
        return await _complete(uploads, request, place)

    async def granted(self, request: Request) -> Response:
        uploads, place = self._granted(request, Purpose.FILE, Purpose.PARTS)
        key, _, number = request.path_params["path"].rpartition("/")
        if place.purpose == Purpose.PARTS:
            if key != place.key or not number.isdecimal():
                raise BadCredentials
            return _part_answer(await uploads.receive_part(request, place, _number(number)))
        if request.path_params["path"] != place.key:
            raise BadCredentials
        stat = await uploads.receive(request, place)
        body = json.dumps({"access_url": keys.link(base_of(request), place.key)}).encode()
        return json_response(200, body, {"etag": f'"{stat.etag}"'})

    async def granted_complete(self, request: Request) -> Response:
        uploads, place = self._granted(request, Purpose.PARTS)
        if request.path_params["path"] != f"{place.key}/complete":
            raise BadCredentials
        return await _complete(uploads, request, place)

    def _uploads(self, request: Request) -> Uploads:
        return Uploads(context_of(request), self._grants)

    def _new(self, request: Request) -> tuple[Uploads, Grant]:
        uploads = self._uploads(request)
        headers = request.headers
        tenant = uploads.tenant(request)
        return uploads, uploads.place(request, tenant, headers.get(FILE_NAME), headers.get("content-type"))

    def _of_path(self, request: Request) -> tuple[Uploads, Grant]:
        uploads, path = self._uploads(request), request.path_params
        return uploads, uploads.of_path(path["upload"], uploads.tenant(request), path["key"])

    def _granted(self, request: Request, *purposes: Purpose) -> tuple[Uploads, Grant]:
        uploads = self._uploads(request)
        return uploads, uploads.granted(request.query_params.get("grant", ""), *purposes)


async def _complete(uploads: Uploads, request: Request, place: Grant) -> Response:
    try:
        async with received(request, context_of(request).room, place.tenant, _COMPLETE_BYTES) as text:
            body: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is no JSON") from error
    await uploads.complete(place, body)
    return json_response(200, json.dumps({"access_url": keys.link(base_of(request), place.key)}).encode())


def _number(text: str) -> int:
    """A part's number as a path has it. More digits than any has are not read: Python refuses to read very many."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
        raise BadRequest("There is no part of such a number")
    return int(text)


def _part_answer(part: Part) -> Response:
    """In the header for fal's Python client, in the body for the JavaScript one."""
    body = json.dumps({"partNumber": part.number, "etag": part.etag}).encode()
    return json_response(200, body, {"etag": f'"{part.etag}"'})
