"""The typed seam of boto3: one bucket of one S3 server.

Owns how we speak to it (path style, SigV4, bounded waits and retries) and what its errors mean. boto3 reads the
credentials, the region and the endpoint by its own names (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, profiles, instance roles). Nothing else imports boto3.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import boto3  # pyright: ignore[reportMissingTypeStubs]
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from shared.errors import Error
from shared.files.base import AlreadyThere, FileMissing, PartsMismatch, StoreUnavailable

_CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=3,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
    s3={"addressing_style": "path"},
    # boto3 adds checksums of its own to every call since 2025; many other servers than Amazon's refuse them.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_MISMATCH = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"}
_THERE = {"PreconditionFailed", "ConditionalRequestConflict", "BucketAlreadyOwnedByYou", "412"}


class OutOfRange(Error):
    """The file ends before the first byte that was asked for."""


class Body(Protocol):
    def read(self, amt: int) -> bytes: ...
    def close(self) -> None: ...


class Bucket:
    """Safe to share between threads. `endpoint_url` None leaves the address to boto3's own settings."""

    def __init__(self, name: str, endpoint_url: str | None = None) -> None:
        self.name = name
        with answering():
            session = boto3.Session()  # its own: the default one is not safe to be made in two threads
            self._client: Any = session.client("s3", endpoint_url=endpoint_url, config=_CONFIG)  # pyright: ignore[reportUnknownMemberType]

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name or "")

    def call(self, operation: str, **arguments: object) -> dict[str, Any]:
        """One of boto3's operations on this bucket; arguments and answer are in S3's own words.

        Raises `FileMissing`, `PartsMismatch`, `AlreadyThere`, `OutOfRange` or `StoreUnavailable`.
        """
        with answering():
            return getattr(self._client, operation)(Bucket=self.name, **arguments)

    def pages(self, operation: str, **arguments: object) -> Iterator[dict[str, Any]]:
        """The answers of an operation that lists, until nothing is left. Raises as `call` does, at any of them."""
        with answering():
            yield from self._client.get_paginator(operation).paginate(Bucket=self.name, **arguments)

    def sign(self, operation: str, expires_s: int, **arguments: str) -> str:
        """An address that anybody may call for so long, made without asking the server."""
        parameters = {"Bucket": self.name, **arguments}
        with answering():
            return str(self._client.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_s))


@contextmanager
def answering() -> Generator[None]:
    """Turns what boto3 raises into errors of the store."""
    try:
        yield
    except ClientError as error:
        response = cast("dict[str, dict[str, str]]", error.response)  # pyright: ignore[reportUnknownMemberType]
        raise _meaning(response.get("Error", {}).get("Code", ""), error) from error
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(f"The S3 store cannot be reached: {error}") from error


def _meaning(code: str, error: ClientError) -> Error:
    if code in _MISSING:
        return FileMissing()
    if code in _MISMATCH:
        return PartsMismatch()
    if code in _THERE:
        return AlreadyThere()
    if code in {"InvalidRange", "416"}:
        return OutOfRange()
    return StoreUnavailable(f"The S3 store refused a call: {error}")
