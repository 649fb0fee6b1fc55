"""Files that clients bring: the steps that fal's upload protocols are made of.

Owns where an upload goes, how long it is kept and who may send its parts. Knows no path of any protocol: the routes
say what each step is called.
"""

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.body import too_large
from api.context import Context, header
from api.grants import Grant, Grants, Purpose, is_grant, over
from api.spool import spooled
from shared.errors import BadCredentials, BadRequest, TooLarge
from shared.files import keys
from shared.files.base import PARTS_S, AlreadyThere, Part, PartsMismatch, PartsTooLarge, Stat
from shared.files.disposition import content_type
from shared.queue import commands
from shared.wire.headers import AUTHORIZATION, LIFECYCLE_PREFERENCE, UPLOAD_LIFECYCLE, lifetime_s

_FILE_S = 3600
_PUT_S = 600
"""In which the store takes a file that is here, at the longest."""

_MOST_PARTS = 10_000
_PART_BYTES = 64 * 1024 * 1024
_SMALLEST_PART_BYTES = 5 * 1024 * 1024
"""S3's own lower bound for every part but the last."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """The steps, for one call. `tenant` is who brings the file."""

    context: Context
    grants: Grants

    def tenant(self, request: Request) -> str:
        """Who calls: by the token of a session, or by a key. Raises `BadCredentials`."""
        token = (header(request, AUTHORIZATION) or "").partition(" ")[2].strip()
        if is_grant(token):
            return self.granted(token, Purpose.SESSION).tenant
        return self.context.tenant(request)

    def granted(self, text: str, *purposes: Purpose) -> Grant:
        """A permission that holds: it ends with its time, and with the key that it was given to.

        Raises `BadCredentials`, and `ServiceUnavailable` while nobody's key is known.
        """
        grant = self.grants.read(text, *purposes)
        self.context.keyring.check(grant.tenant)
        return grant

    def place(self, request: Request, tenant: str, name: object, said_type: object) -> Grant:
        """A new place for one file, which nobody else knows."""
        if not isinstance(name, str | None) or not isinstance(said_type, str | None):
            raise BadRequest("file_name and content_type must be strings")
        return Grant(
            purpose=Purpose.FILE,
            tenant=tenant,
            until_s=0,
            key=keys.upload(name),
            content_type=content_type(said_type),
            lifetime_s=_lifetime_s(request),
        )

    def open(self, place: Grant) -> Grant:
        """The same place, for one whole file, for an hour, or for as long as the file is to be kept if that is less."""
        return replace(place, until_s=int(time.time()) + min(_FILE_S, self._kept_s(place)))

    async def begin(self, place: Grant) -> Grant:
        """The same place, for a file in parts, for a day; the file's own time begins an hour from now."""
        upload = await run_in_threadpool(
            self.context.store.begin_multipart,
            place.key,
            content_type=place.content_type,
            expires_at=self._expires_at(place, later_s=_FILE_S),
        )
        until_s = int(time.time()) + PARTS_S
        return replace(place, purpose=Purpose.PARTS, upload=upload, until_s=until_s)

    async def receive(self, request: Request, place: Grant) -> Stat:
        """The whole file. Who lost the answer may send it again; what a key names never changes, nor lives longer.

        Raises `BadRequest` for another file than before, `BadCredentials` where it came so late that the one before may
        have been deleted, `TooLarge`, `TooSlow`, `StoreUnavailable`, `ServiceUnavailable`.
        """
        async with self._spooled(request, place, self.context.settings.max_upload_bytes) as body:
            expires_at = self._expires_at(place)
            put = partial(self.context.store.put, content_type=place.content_type, expires_at=expires_at, only_new=True)
            try:
                await self._expect(place.key, self._deleted_at(place, expires_at))
                return await run_in_threadpool(put, place.key, body)
            except AlreadyThere:
                return await run_in_threadpool(self._same, place.key, body)

    async def receive_part(self, request: Request, place: Grant, number: int) -> Part:
        """One part; it may be sent again, and the last one counts.

        Raises `BadRequest` for a number that no upload needs, `TooLarge` where all parts together are, and what
        `receive` does of its body. What is kept of one upload is no more than one file may be, but for parts that are
        in flight at once.
        """
        most_bytes = self.context.settings.max_upload_bytes
        if not 1 <= number <= min(_MOST_PARTS, most_bytes // _SMALLEST_PART_BYTES + 1):
            raise BadRequest(f"There is no part {number}")
        async with self._spooled(request, place, min(_PART_BYTES, most_bytes)) as body:
            put = partial(self.context.store.put_part, most_bytes=most_bytes)
            try:
                async with self.context.upload_turns.of(place.tenant):
                    return await run_in_threadpool(put, place.key, place.upload, number, body)
            except PartsTooLarge as error:
                raise too_large(most_bytes) from error

    async def complete(self, place: Grant, body: object) -> Stat:
        """Joins the parts that the body names. Raises `BadRequest` where they are not those that came, `TooLarge`."""
        store = self.context.store
        await self._expect(place.key, self._expires_at(place, later_s=_FILE_S))
        try:
            async with self.context.upload_turns.of(place.tenant):
                stat = await run_in_threadpool(store.complete_multipart, place.key, place.upload, _parts(body))
        except PartsMismatch as error:
            raise BadRequest(error.message) from error
        if stat.size_bytes > self.context.settings.max_upload_bytes:
            await run_in_threadpool(store.delete, place.key)
            raise TooLarge
        return stat

    def of_path(self, text: str, tenant: str, key: str) -> Grant:
        """The upload in parts that a path names. Raises `BadCredentials` unless it is this caller's, for this key."""
        grant = self.granted(text, Purpose.PARTS)
        if grant.tenant != tenant or grant.key != key:
            raise BadCredentials
        return grant

    def _same(self, key: str, body: BinaryIO) -> Stat:
        body.seek(0)
        for chunk in self.context.store.read(key):
            if body.read(len(chunk)) != chunk:
                raise _used(key)
        if body.read(1):
            raise _used(key)
        return self.context.store.stat(key)

    def _spooled(self, request: Request, place: Grant, max_bytes: int) -> AbstractAsyncContextManager[BinaryIO]:
        """What is sent, on the way to the store."""
        context = self.context
        return spooled(request, context.upload_room, place.tenant, max_bytes, context.settings.data_dir)

    def _kept_s(self, place: Grant) -> int:
        return place.lifetime_s or self.context.settings.retention_s

    def _expires_at(self, place: Grant, later_s: int = 0) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._kept_s(place) + later_s)

    def _deleted_at(self, place: Grant, expires_at: datetime) -> datetime:
        """For a file that has come: not before its place is closed, for only what is there keeps another one out.

        Raises `BadCredentials` where one that came before may be gone by now.
        """
        if not place.until_s:
            return expires_at
        given_at_s = place.until_s - min(_FILE_S, self._kept_s(place))
        if time.time() > max(place.last_s, given_at_s + self._kept_s(place)):
            raise over()
        return max(expires_at, datetime.fromtimestamp(place.last_s + _PUT_S, UTC))

    async def _expect(self, key: str, deleted_at: datetime) -> None:
        """Before the file is there, so that none is ever left behind."""
        await self.context.run(commands.expect_files([key], round(deleted_at.timestamp() * 1000)))


def _used(key: str) -> BadRequest:
    return BadRequest(f"Another file was uploaded to {key} before")


def _lifetime_s(request: Request) -> int | None:
    for name in (UPLOAD_LIFECYCLE, LIFECYCLE_PREFERENCE):
        value = header(request, name)
        if value is not None:
            return lifetime_s(name, value)
    return None


def _parts(body: object) -> list[Part]:
    named = cast("dict[str, object]", body).get("parts") if isinstance(body, dict) else None
    if not isinstance(named, list):
        raise BadRequest("The body must be a JSON object with a list of parts")
    return [_part(item) for item in cast("list[object]", named)]


def _part(item: object) -> Part:
    fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    number, etag = fields.get("partNumber"), fields.get("etag")
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(etag, str):
        raise BadRequest("A part is an object with partNumber and etag")
    if not 1 <= number <= _MOST_PARTS:
        raise BadRequest("There is no part of such a number")
    return Part(number, etag.removeprefix("W/").strip('"'))
