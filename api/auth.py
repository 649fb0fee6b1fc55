"""Who is calling. Knows credentials and tenants; knows nothing of HTTP answers or of the queue."""

import hashlib
import hmac
from collections.abc import Sequence

from api.settings import ApiKey
from shared.errors import BadCredentials

ANONYMOUS = "anonymous"
_SCHEMES = ("key", "bearer")


def _tenant(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:24]


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()


def _credential(authorization: str) -> str:
    scheme, _, credential = authorization.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() not in _SCHEMES or not credential:
        raise BadCredentials
    return credential


class Keyring:
    """The accepted keys. Without any, every key is a tenant of its own, and so is having none."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._tenants = [(_digest(f"{key.id}:{key.secret}"), _tenant("id", key.id)) for key in keys]

    def tenant(self, authorization: str | None) -> str:
        """The stable name of the caller that sent this Authorization header; raises `BadCredentials`.

        `Key id:secret` and `Bearer id:secret` are the same. Two secrets of one id are one tenant, so a key can be
        rotated. The time taken does not depend on which key is close to the one given.
        """
        if not self._tenants:
            return ANONYMOUS if authorization is None else _tenant("any", _credential(authorization))
        if authorization is None:
            raise BadCredentials
        given = _digest(_credential(authorization))
        found: str | None = None
        for digest, tenant in self._tenants:
            if hmac.compare_digest(digest, given):
                found = tenant
        if found is None:
            raise BadCredentials
        return found
