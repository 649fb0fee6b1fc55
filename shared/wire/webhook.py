"""What a webhook says and how it is signed. Who sends it, when and how often is the courier's.

The signature is fal's: Ed25519 over `request id \\n user id \\n unix seconds \\n hex(sha256(body))`; receivers find the
public keys at `/.well-known/jwks.json`. The private keys are files of one directory that every process may make: the
first one there wins. To rotate, put a second key whose name sorts later beside the first: it signs from the next start
on, and the older one stays published until its file is removed.
"""

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared.errors import WrongSetting

REQUEST_ID = "X-Fal-Webhook-Request-Id"
USER_ID = "X-Fal-Webhook-User-Id"
TIMESTAMP = "X-Fal-Webhook-Timestamp"
SIGNATURE = "X-Fal-Webhook-Signature"

_FIRST_KEY = "webhook-1.pem"
_UNREADABLE = "Response payload is not JSON serializable. Fetch it from the request's response_url instead."


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """All keys of a deployment, oldest first. The last one signs; all are published."""

    keys: tuple[Ed25519PrivateKey, ...]

    def sign(self, message: bytes) -> str:
        """The signature in lower-case hex."""
        return self.keys[-1].sign(message).hex()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JWK set. `x` keeps its base64 padding, because fal's published verifier needs it."""
        return {"keys": [_jwk(key) for key in self.keys]}


def payload(request_id: str, *, succeeded: bool, status: int, body: str) -> bytes:
    """The bytes to post: the same for every attempt. `body` is the JSON text of the result or of the error."""
    content = _content(request_id, succeeded=succeeded, status=status)
    try:
        content["payload"] = json.loads(body)
    except (ValueError, RecursionError):
        content |= {"payload": None, "payload_error": _UNREADABLE}
    return json.dumps(content, sort_keys=True).encode()


def around(request_id: str, *, succeeded: bool, status: int) -> tuple[bytes, bytes]:
    """What `payload` has before and after a body that is posted as it is stored: sorted, and in ASCII."""
    content = _content(request_id, succeeded=succeeded, status=status) | {"payload": 0}
    before, name, after = json.dumps(content, sort_keys=True).partition('"payload": ')
    return (before + name).encode(), after.removeprefix("0").encode()


def message(request_id: str, user_id: str, timestamp_s: int, sha256: str) -> bytes:
    """What is signed."""
    return "\n".join((request_id, user_id, str(timestamp_s), sha256)).encode()


def signed_headers(
    keys: SigningKeys, *, request_id: str, user_id: str, timestamp_s: int, sha256: str
) -> dict[str, str]:
    """The headers of one delivery attempt; `sha256` is the body's, in hex. Receivers accept a timestamp within five
    minutes of theirs."""
    return {
        "Content-Type": "application/json",
        REQUEST_ID: request_id,
        USER_ID: user_id,
        TIMESTAMP: str(timestamp_s),
        SIGNATURE: keys.sign(message(request_id, user_id, timestamp_s, sha256)),
    }


def load_or_create_keys(directory: Path) -> SigningKeys:
    """The keys of `directory`, after making the first one if there is none. Safe against a race of processes.

    Raises `WrongSetting` for a directory or a file that is of no use.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(directory.glob("*.pem")):
            _create(directory / _FIRST_KEY)
        return SigningKeys(tuple(_load(path) for path in sorted(directory.glob("*.pem"))))
    except OSError as error:
        raise WrongSetting("WEBHOOK_KEYS_DIR", f"{directory} cannot be used: {error.strerror}") from error


def _content(request_id: str, *, succeeded: bool, status: int) -> dict[str, object]:
    """All but the payload."""
    return {
        "error": None if succeeded else f"Invalid status code: {status}",
        "gateway_request_id": request_id,
        "request_id": request_id,
        "status": "OK" if succeeded else "ERROR",
    }


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename it fails where another process was first
        except FileExistsError:
            return
    finally:
        draft.unlink()


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise WrongSetting("WEBHOOK_KEYS_DIR", f"{path} is no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongSetting("WEBHOOK_KEYS_DIR", f"{path} is no Ed25519 key")
    return key


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
        "kid": hashlib.sha256(raw).hexdigest()[:16],
        "x": base64.urlsafe_b64encode(raw).decode(),
    }
