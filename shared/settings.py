"""The settings that more than one process reads. Each process extends `Settings` with its own.

Environment variables only, without a prefix; `load` turns a wrong value into `WrongSetting` that names the variable.
This module and its two siblings, `api.settings` and `worker.settings`, are the only readers of the environment.
"""

import re
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import WrongSetting

_REDIS_OPTIONS = {
    "redis": set[str](),
    "rediss": {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"},
    "unix": {"db"},
}
"""By scheme. Of all that Redis' client knows, Celery takes no others, and timeouts are ours to set."""
_CERT_REQS = {"none", "optional", "required"}
_DATABASE = re.compile(r"(/[0-9]*)?")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path(".data")
    redis_url: str = "redis://127.0.0.1:6379/0"
    storage_url: str = ""
    """`file:///path` or `s3://bucket`; empty means `file://{data_dir}/files`."""
    s3_public_endpoint_url: str | None = None
    """The address that presigned links are made for, where clients see the store under another name than we do."""
    s3_public_base_url: str | None = None
    """A CDN in front of the bucket: results' links then point straight at it."""
    public_url: str | None = None
    """What every emitted link starts with; unset, links start with what the caller called."""
    egress_allow: str = ""
    """Hosts, addresses and CIDRs, with or without a port, comma separated: exempt from the private-address block."""
    retention_s: int = Field(default=86_400, ge=60)
    """How long results, files and Idempotency-Keys are kept after completion."""
    max_pixels: int = Field(default=2048 * 2048, ge=64 * 64)
    """Of one result picture."""
    max_download_bytes: int = Field(default=50 * 1024 * 1024, ge=1024)
    """Of one input picture, before decoding."""

    @field_validator("redis_url")
    @classmethod
    def _is_an_address_of_redis(cls, url: str) -> str:
        if not _can_be_called(url):  # no word of it is said: where a password is written badly, it may be anywhere
            raise ValueError(
                "expected redis://:password@host:port/database, the same with rediss://, or unix:///path; "
                "in a password / ? # [ ] @ ; and % are written %2F %3F %23 %5B %5D %40 %3B and %25"
            )
        return url

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data_dir.resolve() / 'files'}"


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Reads the environment. Raises `WrongSetting` for the first variable whose value is of no use."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else kind.__name__
        raise WrongSetting(name, first["msg"]) from None  # the other one shows the value, in every traceback


def _can_be_called(redis_url: str) -> bool:
    """Whether all of it means something, and to Redis' client the same as to Celery's."""
    try:
        parts = urlsplit(redis_url)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in _REDIS_OPTIONS
        and redis_url.startswith(f"{parts.scheme}://")
        and options.keys() <= _REDIS_OPTIONS[parts.scheme]
        and all(len(values) == 1 for values in options.values())
        and _CERT_REQS.issuperset(options.get("ssl_cert_reqs", ()))
        and all(map(str.isdecimal, options.get("db", ())))
        and (parts.scheme == "unix" or _DATABASE.fullmatch(parts.path) is not None)
        and not parts.fragment
        and "@" not in parts.path + parts.query
        and ";" not in redis_url  # to Celery, the beginning of another address
    )
