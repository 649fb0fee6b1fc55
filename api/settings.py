"""What the API process reads from the environment, beside `shared.settings`. Nothing else here reads it.

Every wrong value is reported under the name of its variable; a start that would be open to strangers is refused.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from shared.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Names = Annotated[tuple[str, ...], NoDecode]

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One accepted credential, written `id:secret` as fal writes them."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        id_, colon, secret = text.partition(":")
        if not (id_ and colon and secret):
            raise ValueError("expected id:secret, separated by commas")
        return cls(id_, secret)


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class ApiSettings(Settings):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = Field(default=None, validate_default=True)
    require_key: bool = False
    """Only keys of API_KEYS and those of `python -m api.keys` are accepted, even while there are none."""
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(default=(), validate_default=True)
    """Unset on a loopback bind, with no key made at run time either: any key is its own tenant."""
    key_max_running: int | None = Field(default=None, ge=1)
    """How many requests of one key may run at once; its next ones wait, and nobody waits for them."""
    key_max_queued: int | None = Field(default=None, ge=1)
    """How many requests of one key may wait; beyond that a submit is refused."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """Addresses and CIDRs whose X-Forwarded-Proto and X-Forwarded-Host count."""

    queue_hosts: Names = ("queue.fal.run", "queue.falrun.com")
    run_hosts: Names = ("fal.run", "falrun.com")
    rest_hosts: Names = ("rest.fal.ai", "rest.alpha.fal.ai")
    cdn_hosts: Names = ("fal.media", "*.fal.media")
    """Names by which clients may call each of fal's origins; `*.` stands for any subdomain."""

    max_body_bytes: int = Field(default=70 * 1024 * 1024, ge=1024)
    """Of one JSON call. A data: URI of `MAX_DOWNLOAD_BYTES` still fits in."""
    max_bodies_bytes: int = Field(default=256 * 1024 * 1024, validate_default=True)
    """Of all JSON calls that are being read at once; a key gets at most half of what the others leave. Beyond that, a
    call is asked to come again."""
    max_upload_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024)
    """Of one uploaded file."""
    max_uploads_bytes: int = Field(default=8 * 1024 * 1024 * 1024, validate_default=True)
    """Of all uploads that are on their way to the store at once, in `{data_dir}/spool`; a key gets at most half of what
    the others leave."""
    reject_invalid_at_submit: bool = False
    """Answer a body that breaks the schema with 422 at once; fal accepts it and fails the request."""
    sync_timeout_s: float = Field(default=600, gt=0)
    """How long a synchronous run waits for its result."""
    sse_keepalive_s: float = Field(default=10, ge=0.05)
    """Between two looks at a silent request: a stream sends a comment or its new queue position."""
    shutdown_grace_s: float = Field(default=5, ge=0)
    """How long synchronous runs may go on after SIGTERM. Streams end at once; clients resume them elsewhere."""
    webhook_keys_dir: Path | None = None
    log_level: str = "INFO"

    @property
    def keys_dir(self) -> Path:
        return self.webhook_keys_dir or self.data_dir / "keys"

    @field_validator("queue_hosts", "run_hosts", "rest_hosts", "cdn_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        return _split(value.lower() if isinstance(value, str) else value)

    @field_validator("queue_hosts", "run_hosts", "rest_hosts", "cdn_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ApiKey.parse(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("api_keys")
    @classmethod
    def _keys_needed(cls, value: tuple[ApiKey, ...], info: ValidationInfo) -> tuple[ApiKey, ...]:
        host = info.data.get("host", "")
        if not (value or info.data.get("require_key") or is_loopback(host)):
            raise ValueError(
                f"needed, because HOST={host} can be reached from other machines (id:secret,…);"
                " or REQUIRE_KEY=true, with keys of `python -m api.keys add`"
            )
        return value

    @field_validator("tls_cert_file", "tls_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("tls_key_file")
    @classmethod
    def _both(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" in info.data and (info.data["tls_cert_file"] is None) != (value is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or none")
        return value

    @field_validator("max_bodies_bytes", "max_uploads_bytes")
    @classmethod
    def _one_fits(cls, value: int, info: ValidationInfo) -> int:
        one = {"max_bodies_bytes": "max_body_bytes", "max_uploads_bytes": "max_upload_bytes"}[str(info.field_name)]
        if value < 2 * info.data.get(one, 0):
            raise ValueError(f"must be at least twice {one.upper()}: a key gets half")
        return value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s?#]+", value):
            raise ValueError("expected an absolute http:// or https:// address")
        return value.rstrip("/") if value else None

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
        return value.upper()
