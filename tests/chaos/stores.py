"""Where the system on the stage keeps its files: a folder, or a bucket of a real S3 server behind a road.

Owns the settings that name it and the list of what lies in it. Knows no file.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3  # pyright: ignore[reportMissingTypeStubs]

from tests.chaos.road import Road
from tests.fixtures_s3 import VENV, S3Server, running_s3


@dataclass(frozen=True, slots=True)
class Store:
    """`files` gives the key of every file; `road` is what faults are made of, and without effect on a folder."""

    settings: dict[str, str]
    files: Callable[[], list[str]]
    road: Road


def lacking_s3() -> str | None:
    """Why there can be no bucket here."""
    return None if (VENV / "bin" / "swift-proxy-server").exists() else "needs an S3 server in .venv-swift"


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncGenerator[Store]:
    """`kind` is "folder" or "bucket"."""
    if kind == "folder":
        files = folder / "files"
        yield Store({"STORAGE_URL": f"file://{files}"}, lambda: _in_folder(files), Road(0))
        return
    with ExitStack() as servers:
        s3 = await asyncio.to_thread(servers.enter_context, running_s3(folder / "s3"))
        road = Road(urlsplit(s3.endpoint_url).port or 0)
        await road.open()
        bucket = f"chaos-{secrets.token_hex(4)}"
        blocked = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{road.port}"}
        settings = s3.environment() | blocked | {"STORAGE_URL": f"s3://{bucket}"}
        yield Store(settings, lambda: _in_bucket(s3, bucket), road)
        await road.close()


def _in_folder(root: Path) -> list[str]:
    """What begins with a dot is the store's own. Folders may go while we look."""
    found = (Path(folder, name).relative_to(root) for folder, _, names in os.walk(root) for name in names)
    return [str(path) for path in found if not any(part.startswith(".") for part in path.parts)]


def _in_bucket(s3: S3Server, bucket: str) -> list[str]:
    open_client = cast("Callable[..., Any]", boto3.client)  # pyright: ignore[reportUnknownMemberType]
    client = open_client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [str(item["Key"]) for page in pages for item in page.get("Contents", [])]
    return [key for key in keys if not key.startswith(".")]
