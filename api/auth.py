"""Who is calling. Knows credentials, tenants and their limits; knows nothing of HTTP answers or of where keys are kept.

No secret is kept: of each only the SHA-256 of `id:secret`, whose comparison takes as long whatever is given.
"""

import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from api.settings import ApiKey
from shared.errors import BadCredentials, ServiceUnavailable
from shared.queue.records import StoredKey

ANONYMOUS = "anonymous"
_SCHEMES = ("key", "bearer")


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, and how many of its requests may run and wait at once; None is no limit."""

    tenant: str
    max_running: int | None
    max_queued: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    digests: tuple[bytes, ...]
    caller: Caller


def tenant_of(kind: str, name: str) -> str:
    """The stable name under which the queue knows a key (`kind` is `id`), or an unknown credential (`any`)."""
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:24]


def digest(credential: str) -> str:
    """What is kept of `id:secret`, hexadecimal."""
    return hashlib.sha256(credential.encode()).hexdigest()


def _credential(authorization: str) -> str:
    scheme, _, credential = authorization.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() not in _SCHEMES or not credential:
        raise BadCredentials
    return credential


class Keyring:
    """The accepted keys: those of the settings, and those that were made at run time, which replace the former of the
    same id. Without any, and unless `required`, every key is a tenant of its own, and so is having none.

    `known` is False as long as the keys made at run time have not been read: then nobody can be told apart.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey],
        *,
        required: bool = False,
        max_running: int | None = None,
        max_queued: int | None = None,
        known: bool = True,
    ) -> None:
        self._own = keys
        self._required = required
        self._limits = max_running, max_queued
        self._nobody = (secrets.token_bytes(32),)
        self._entries: dict[str, _Entry] = {}
        self._closed = required
        self._tenants: frozenset[str] = frozenset()
        self.known = known
        self.read_s = time.monotonic() if known else -math.inf
        """When what is kept of them was seen last, on the monotonic clock: a key may have been revoked since."""
        self._fill((), now_ms=0)

    def replace(self, stored: Sequence[StoredKey], *, now_ms: int) -> None:
        """Puts these in the place of all that were made at run time; `now_ms` decides which secrets have expired."""
        self._fill(stored, now_ms=now_ms)
        self.known = True

    def _fill(self, stored: Sequence[StoredKey], *, now_ms: int) -> None:
        digests: dict[str, tuple[bytes, ...]] = {}
        for own in self._own:
            digests[own.id] = (*digests.get(own.id, ()), bytes.fromhex(digest(f"{own.id}:{own.secret}")))
        entries = {id: _Entry(found, self._caller("id", id)) for id, found in digests.items()}
        for key in stored:
            valid = [secret.sha256 for secret in key.secrets if secret.until_ms is None or now_ms < secret.until_ms]
            found = () if key.revoked else tuple(map(bytes.fromhex, valid))
            entries[key.id] = _Entry(found, self._caller("id", key.id, key))
        self._entries = entries
        self._tenants = frozenset(entry.caller.tenant for entry in entries.values() if entry.digests)
        # A name that was only ever refused, `created_ms` 0, is no reason to turn everybody else away.
        self._closed = self._required or bool(digests) or any(key.secrets or key.created_ms for key in stored)

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this Authorization header; raises `BadCredentials`, and `ServiceUnavailable` while keys are unknown.

        `Key id:secret` and `Bearer id:secret` are the same. All secrets of one id are one tenant, so a key can be
        rotated.
        """
        if not self.known:
            raise ServiceUnavailable
        if not self._closed:
            tenant = ANONYMOUS if authorization is None else tenant_of("any", _credential(authorization))
            return Caller(tenant, *self._limits)
        if authorization is None:
            raise BadCredentials
        credential = _credential(authorization)
        given = bytes.fromhex(digest(credential))
        entry = self._entries.get(credential.partition(":")[0])
        found = False
        for known in (entry and entry.digests) or self._nobody:
            found |= hmac.compare_digest(known, given)
        if entry is None or not found:
            raise BadCredentials
        return entry.caller

    def check(self, tenant: str) -> None:
        """Returns where a permission that was given to this tenant still holds: its key is accepted, or any is.

        Raises `BadCredentials`, and `ServiceUnavailable` while keys are unknown.
        """
        if not self.known:
            raise ServiceUnavailable
        if self._closed and tenant not in self._tenants:
            raise BadCredentials

    def _caller(self, kind: str, name: str, key: StoredKey | None = None) -> Caller:
        own = (key.max_running, key.max_queued) if key else (None, None)
        running, queued = (
            default if limit is None else limit or None for limit, default in zip(own, self._limits, strict=True)
        )
        return Caller(tenant_of(kind, name), running, queued)
