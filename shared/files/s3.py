"""Files in a private bucket of an S3 server.

Owns which S3 calls make up each method and where a file's expiry is kept: in its metadata. Needs no bucket
policy, no lifecycle rule and no versioning. Knows nothing of HTTP answers.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO

from shared.files import keys
from shared.files.base import (
    AlreadyThere,
    Elsewhere,
    FileMissing,
    Location,
    Part,
    PartsMismatch,
    PartsTooLarge,
    Stat,
    StoreUnavailable,
)
from shared.files.bucket import Body, Bucket, OutOfRange, answering
from shared.files.disposition import disposition

_CHUNK_BYTES = 256 * 1024
_LINK_S = 3600
_ID_KEY = ".store-id"


class S3Store:
    """Implements `files.base.Store`. Creating it calls nobody; asking for its `id` makes the bucket if need be.

    `public` signs the links that clients follow: the server's name is part of a signature, so they must be made
    for the name that clients see. With `cdn`, clients are sent there instead and nothing is signed.
    """

    def __init__(self, bucket: Bucket, public: Bucket | None = None, *, cdn: str | None = None) -> None:
        self._bucket = bucket
        self._public = public or bucket
        self._cdn = cdn
        self._id = ""

    @property
    def id(self) -> str:
        self._id = self._id or self._find_id()
        return self._id

    @property
    def is_local(self) -> bool:
        return False

    def put(
        self,
        key: str,
        content: BinaryIO | bytes,
        *,
        content_type: str,
        expires_at: datetime | None,
        only_new: bool = False,
    ) -> Stat:
        source = BytesIO(content) if isinstance(content, bytes) else content
        size_bytes = _left(source)
        about = _about(content_type, expires_at) | ({"IfNoneMatch": "*"} if only_new else {})
        if only_new and self._is_there(key):  # not every server knows the condition
            raise AlreadyThere
        answer = self._bucket.call("put_object", Key=_checked(key), Body=source, **about)
        return Stat(size_bytes, content_type, answer["ETag"].strip('"'), expires_at)

    def stat(self, key: str) -> Stat:
        return _stat(self._bucket.call("head_object", Key=_checked(key)))

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        last = "" if length is None else str(start + length - 1)
        if length == 0:
            self.stat(key)
            return iter(())
        wanted = {} if start == 0 and length is None else {"Range": f"bytes={start}-{last}"}
        try:
            body: Body = self._bucket.call("get_object", Key=_checked(key), **wanted)["Body"]
        except OutOfRange:
            return iter(())
        chunks = _chunks(body)
        next(chunks)
        return chunks

    def delete(self, key: str) -> None:
        with suppress(FileMissing):
            self._bucket.call("delete_object", Key=_checked(key))

    def locate(self, key: str, stat: Stat) -> Location:
        if self._cdn:
            return Elsewhere(keys.link("", key, cdn=self._cdn))
        left_s = _LINK_S if stat.expires_at is None else int((stat.expires_at - datetime.now(UTC)).total_seconds())
        url = self._public.sign(
            "get_object",
            max(1, min(_LINK_S, left_s)),
            Key=_checked(key),
            ResponseContentDisposition=disposition(key, stat.content_type),
        )
        return Elsewhere(url)

    def begin_multipart(self, key: str, *, content_type: str, expires_at: datetime | None) -> str:
        about = _about(content_type, expires_at)
        return str(self._bucket.call("create_multipart_upload", Key=_checked(key), **about)["UploadId"])

    def put_part(self, key: str, upload: str, number: int, content: BinaryIO, *, most_bytes: int) -> Part:
        place = {"Key": _checked(key), "UploadId": upload}
        parts = [part for page in self._bucket.pages("list_parts", **place) for part in page.get("Parts", [])]
        others_bytes = sum(part["Size"] for part in parts if part["PartNumber"] != number)
        if others_bytes + _left(content) > most_bytes:
            raise PartsTooLarge
        answer = self._bucket.call("upload_part", **place, PartNumber=number, Body=content)
        return Part(number, answer["ETag"].strip('"'))

    def complete_multipart(self, key: str, upload: str, parts: Sequence[Part]) -> Stat:
        ordered = sorted(parts, key=lambda part: part.number)
        if not parts or len({part.number for part in parts}) != len(parts):
            raise PartsMismatch
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in ordered]
        with suppress(FileMissing):  # completed by the same call before, or never begun: the file tells
            self._bucket.call(
                "complete_multipart_upload", Key=_checked(key), UploadId=upload, MultipartUpload={"Parts": listed}
            )
        return self.stat(key)

    def drop_unfinished(self, *, before: datetime) -> int:
        pages = self._bucket.pages("list_multipart_uploads")
        old = [upload for page in pages for upload in page.get("Uploads", []) if upload["Initiated"] < before]
        for upload in old:
            with suppress(FileMissing):
                self._bucket.call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
        return len(old)

    def check(self) -> None:
        try:
            self._bucket.call("head_bucket")
        except FileMissing as error:
            raise StoreUnavailable("The bucket of the S3 store is gone.") from error

    def _is_there(self, key: str) -> bool:
        try:
            self.stat(key)
        except FileMissing:
            return False
        return True

    def _find_id(self) -> str:
        try:
            self._bucket.call("head_bucket")
        except FileMissing:
            self._create()
        with suppress(FileMissing):
            return self._stored_id()
        content = BytesIO(secrets.token_hex(16).encode())
        with suppress(AlreadyThere):
            self._bucket.call("put_object", Key=_ID_KEY, Body=content, IfNoneMatch="*")
        return self._stored_id()  # not what we wrote: another process may have been first, or last

    def _create(self) -> None:
        region = self._bucket.region
        options = {} if region in {"", "us-east-1"} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with suppress(AlreadyThere):
            self._bucket.call("create_bucket", **options)

    def _stored_id(self) -> str:
        body: Body = self._bucket.call("get_object", Key=_ID_KEY)["Body"]
        return b"".join(_chunks(body)).decode()


def _checked(key: str) -> str:
    if not keys.is_key(key):
        raise FileMissing
    return key


def _left(source: BinaryIO) -> int:
    here = source.tell()
    size_bytes = source.seek(0, SEEK_END) - here
    source.seek(here)
    return size_bytes


def _about(content_type: str, expires_at: datetime | None) -> dict[str, object]:
    metadata = {"expires-at": expires_at.isoformat()} if expires_at else {}
    return {"ContentType": content_type, "Metadata": metadata}


def _stat(head: dict[str, Any]) -> Stat:
    expires_at = head["Metadata"].get("expires-at")
    return Stat(
        head["ContentLength"],
        head["ContentType"],
        head["ETag"].strip('"'),
        datetime.fromisoformat(expires_at) if expires_at else None,
    )


def _chunks(body: Body) -> Iterator[bytes]:
    try:
        yield b""  # primed: from here on, dropping the iterator closes the body
        with answering():
            while chunk := body.read(_CHUNK_BYTES):
                yield chunk
    finally:
        body.close()
