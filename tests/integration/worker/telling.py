"""What tests of webhooks share: a courier in this process, requests it tells of, and the check that fal documents."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.queue import commands, keys
from shared.queue.records import Outcome
from shared.queue.states import State
from tests.integration.worker.floor import DEADLINE_S, RETENTION_S, Floor
from tests.integration.worker.receiver import Call
from worker.courier import Courier
from worker.settings import CourierSettings

BODY: dict[str, Any] = {
    "images": [],
    "prompt": "a cat",
    "seed": 7,
    "timings": {"inference": 0.5},
    "has_nsfw_concepts": [],
}
SUCCESS = Outcome(State.SUCCEEDED, 200, json.dumps(BODY))


@contextmanager
def courier(floor: Floor, **settings: Any) -> Generator[Courier]:
    options: dict[str, Any] = {"egress_allow": "127.0.0.1", "webhook_retry_s": (0.1, 0.1), **settings}
    it = Courier(CourierSettings(data_dir=floor.folder, redis_url=floor.redis_url, **options), threading.Event())
    it.start()
    try:
        yield it
    finally:
        it.close()


def over(floor: Floor, url: str, outcome: Outcome = SUCCESS, **more: Any) -> str:
    """A request that has just ended and wants `url` to know."""
    id = floor.submit(webhook_url=url, **more)
    attempt = floor.do(commands.claim("w", f"claim of {id}", budget_px=2**50, lease_ms=60_000, retention_s=RETENTION_S))
    assert attempt is not None
    floor.do(commands.finish(attempt.held, outcome, retention_s=RETENTION_S))
    return id


def settled(floor: Floor, id: str) -> str | None:
    """Waits until the queue knows how it went: '1' delivered, '0' given up."""
    deadline_s = time.monotonic() + DEADLINE_S
    ear = threading.Event()
    while (verdict := floor.redis.execute_command("HGET", keys.request(id), "webhook_delivered")) is None:
        assert time.monotonic() < deadline_s
        ear.wait(0.02)
    return str(verdict)


def as_fal_documents(call: Call, jwks: dict[str, list[dict[str, str]]]) -> None:
    """fal's published verification, step by step. Raises where it must not be trusted."""
    request_id, user_id, timestamp, signature = (
        call.headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp", "signature")
    )
    assert abs(time.time() - int(timestamp)) <= 300
    message = "\n".join([request_id, user_id, timestamp, hashlib.sha256(call.body).hexdigest()]).encode()
    for key in jwks["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"]))
        try:
            public.verify(bytes.fromhex(signature), message)
        except InvalidSignature:
            continue
        return
    raise InvalidSignature
