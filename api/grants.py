"""Permissions to upload that a client carries itself: signed, short-lived, and nothing is stored for them.

A session lets its bearer upload as one tenant (fal's CDN token). A grant to one place is part of the address that a
client PUTs to, which therefore needs no key. Both are read by any API process that has the same secret. Knows nothing
of HTTP or of stores.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from shared.errors import BadCredentials, WrongSetting

_PREFIX = "kolors-upload."
_SECRET_BYTES = 32
_LATE_S = 300


class Purpose(StrEnum):
    SESSION = "session"
    FILE = "file"
    """PUT one whole file at `key`."""
    PARTS = "parts"
    """PUT parts of the file at `key`, and complete it."""


@dataclass(frozen=True, slots=True)
class Grant:
    purpose: Purpose
    tenant: str
    until_s: int
    """Unix seconds; 0 while it is given to nobody."""
    key: str = ""
    upload: str = ""
    """The store's name for an upload in parts."""
    content_type: str = ""
    lifetime_s: int | None = None
    """How long the file is to be kept; None is the server's own retention."""

    @property
    def last_s(self) -> int:
        """When it ends, Unix seconds: a client may trust its own clock, and a large upload may have begun in time."""
        return self.until_s + _LATE_S


class Grants:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """With the secret that is kept there; whoever comes first makes it. Raises `WrongSetting`."""
        path = folder / "uploads.key"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = folder / f".{secrets.token_hex(8)}"
            draft.touch(0o600)
            draft.write_bytes(secrets.token_bytes(_SECRET_BYTES))
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            secret = path.read_bytes()
        except OSError as error:
            raise WrongSetting("DATA_DIR", f"{path} cannot be used: {error.strerror}") from error
        if len(secret) < _SECRET_BYTES:
            raise WrongSetting("DATA_DIR", f"{path} is no key")
        return cls(secret)

    def write(self, grant: Grant) -> str:
        """Text that is safe in a header, in a query and in one segment of a path."""
        payload = _encode(json.dumps(asdict(grant), separators=(",", ":")).encode())
        return f"{_PREFIX}{payload}.{self._sign(payload)}"

    def read(self, text: str, *purposes: Purpose) -> Grant:
        """Raises `BadCredentials` for what this server did not write, for other purposes, and when it is over."""
        payload, _, signature = text.removeprefix(_PREFIX).partition(".")
        if not is_grant(text) or not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            raise BadCredentials
        try:
            grant = Grant(**json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        except (ValueError, TypeError, binascii.Error) as error:  # signed by an older version of this server
            raise BadCredentials from error
        if grant.purpose not in purposes:
            raise BadCredentials
        if time.time() > grant.last_s:
            raise over()
        return grant

    def _sign(self, payload: str) -> str:
        return _encode(hmac.digest(self._secret, payload.encode(), hashlib.sha256))


def over() -> BadCredentials:
    """For what comes after a grant's time."""
    return BadCredentials("The permission to upload has expired")


def is_grant(text: str) -> bool:
    """Whether it claims to be one; anything else in an Authorization header is a key."""
    return text.startswith(_PREFIX)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
