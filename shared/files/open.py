"""From `STORAGE_URL` to a store."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.errors import WrongSetting
from shared.files.base import Store
from shared.files.bucket import Bucket
from shared.files.local import LocalStore
from shared.files.s3 import S3Store
from shared.settings import Settings

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(settings: Settings) -> Store:
    """`file:///path` makes the folder, `s3://bucket` calls nobody yet: the store's `id` makes the bucket.

    Raises `WrongSetting` for any other address, `StoreUnavailable` where the folder cannot be made.
    """
    url = urlsplit(settings.storage)
    if url.scheme == "file" and url.netloc in {"", "localhost"} and url.path.startswith("/"):
        return LocalStore(Path(unquote(url.path)))
    if url.scheme == "s3" and _BUCKET.fullmatch(url.netloc) and url.path in {"", "/"}:
        public = settings.s3_public_endpoint_url
        return S3Store(
            Bucket(url.netloc),
            Bucket(url.netloc, public) if public else None,
            cdn=settings.s3_public_base_url,
        )
    raise WrongSetting("STORAGE_URL", "is neither file:///absolute/path nor s3://bucket")
