"""Webhooks as a receiver sees them: fal's body, fal's signature, and calling again after a failure."""

import base64
import hashlib
import json
import time

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.acceptance.harness.caller import ENDPOINT, Caller, arguments, cancelled, long_arguments, only
from tests.acceptance.harness.receiver import Post, Receiver
from tests.acceptance.harness.server import Server


def submit(caller: Caller, hook: str, **changes: object) -> str:
    answer = caller.call("POST", f"/{ENDPOINT}", params={"fal_webhook": hook}, json=arguments(**changes))
    assert answer.status_code == 200
    return answer.json()["request_id"]


def published(caller: Caller) -> dict[str, str]:
    keys: list[dict[str, str]] = caller.http.get("/.well-known/jwks.json").json()["keys"]
    return only(keys)


def signed(post: Post) -> bytes:
    """The text that fal's documentation says is signed."""
    values = [post.headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
    assert all(values)
    return "\n".join([*values, hashlib.sha256(post.body).hexdigest()]).encode()


def verify_as_documented(post: Post, key: dict[str, str]) -> None:
    """The procedure of fal's documentation, with its Python sample's decoding that adds no padding."""
    assert abs(time.time() - int(post.headers["x-fal-webhook-timestamp"])) < 300
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"]))
    public.verify(bytes.fromhex(post.headers["x-fal-webhook-signature"]), signed(post))


def test_success_is_told_with_the_output(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook()
    id = submit(caller, hook)

    post = only(receiver.await_posts(hook))

    body = json.loads(post.body)
    assert list(body) == sorted(body)
    assert body.items() >= {"error": None, "request_id": id, "status": "OK"}.items()
    assert body["gateway_request_id"]
    assert body["payload"] == caller.result(id).json()
    assert post.headers["content-type"].startswith("application/json")
    verify_as_documented(post, published(caller))


def test_another_body_has_another_signature(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook()
    submit(caller, hook)
    post = only(receiver.await_posts(hook))

    with pytest.raises(InvalidSignature):
        verify_as_documented(Post(post.headers, post.body + b" "), published(caller))


def test_a_jose_library_reads_the_published_key(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook()
    submit(caller, hook)
    post = only(receiver.await_posts(hook))

    keys = jwt.PyJWKSet.from_dict(caller.http.get("/.well-known/jwks.json").json())

    public = only(keys.keys).key
    assert isinstance(public, Ed25519PublicKey)
    public.verify(bytes.fromhex(post.headers["x-fal-webhook-signature"]), signed(post))


def test_failure_is_told_with_the_error(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook()
    id = submit(caller, hook, strength=3)

    body = json.loads(only(receiver.await_posts(hook)).body)

    assert body.items() >= {"error": "Invalid status code: 422", "request_id": id, "status": "ERROR"}.items()
    assert body["payload"] == caller.result(id).json()


def test_cancellation_is_told(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook()
    answer = caller.call("POST", f"/{ENDPOINT}", params={"fal_webhook": hook}, json=long_arguments())
    cancelled(caller, answer.json()["request_id"])

    body = json.loads(only(receiver.await_posts(hook)).body)

    assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 499")


def test_a_failed_call_is_made_again_with_the_same_body(caller: Caller, receiver: Receiver) -> None:
    hook = receiver.hook(500, 302)
    submit(caller, hook)

    posts = receiver.await_posts(hook, 3, within_s=30)

    assert len({post.body for post in posts}) == 1
    for post in posts:
        verify_as_documented(post, published(caller))


def test_a_webhook_may_not_reach_inside(caller: Caller, server: Server) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", params={"fal_webhook": f"{server.url}/health"}, json=arguments())

    assert answer.status_code in {200, 400, 422}
    if answer.status_code == 200:
        assert caller.finish(answer.json()["request_id"]).status_code == 200


@pytest.mark.parametrize("hook", ["nonsense", "ftp://example.com/", "http://", "javascript:alert(1)"])
def test_a_webhook_that_is_no_address_is_refused(caller: Caller, hook: str) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", params={"fal_webhook": hook}, json=arguments())

    assert 400 <= answer.status_code < 500
