"""Webhook bodies to the byte, and signatures as fal's documentation verifies them."""

import base64
import hashlib
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.errors import WrongSetting
from shared.wire import webhook
from shared.wire.image import Image, Output


def test_a_success_to_the_byte() -> None:
    body = '{"images":[{"url":"u","width":8}],"seed":5,"prompt":"ü"}'
    assert webhook.payload("r1", succeeded=True, status=200, body=body) == (
        b'{"error": null, "gateway_request_id": "r1", "payload": {"images": [{"url": "u", "width": 8}], '
        b'"prompt": "\\u00fc", "seed": 5}, "request_id": "r1", "status": "OK"}'
    )


@pytest.mark.parametrize(("succeeded", "status"), [(True, 200), (False, 500)])
def test_a_body_that_is_stored_as_a_webhook_has_it_makes_the_same_bytes(succeeded: bool, status: int) -> None:
    output = Output(
        images=[Image(url="data:image/png;base64,QUJD+/==", file_size=3, width=8, height=16)],
        timings={"inference": 1e-06, "z": 1e22, "a": 12.000001, "b": 3.0},
        seed=17454220438242315174,
        has_nsfw_concepts=[False],
        prompt='ü 狗 🐶 \u2028 "\\ \x00\x7f </script>, "payload": 0',
    )
    before, after = webhook.around("r1", succeeded=succeeded, status=status)
    whole = before + output.to_webhook_json().encode() + after
    assert whole == webhook.payload("r1", succeeded=succeeded, status=status, body=output.to_json())


def test_a_failure_carries_the_error_body() -> None:
    content = json.loads(webhook.payload("r1", succeeded=False, status=422, body='{"detail":[]}'))
    assert content["status"] == "ERROR"
    assert content["error"] == "Invalid status code: 422"
    assert content["payload"] == {"detail": []}


def test_a_body_that_is_no_json_is_said_so() -> None:
    content = json.loads(webhook.payload("r1", succeeded=True, status=200, body="<html>"))
    assert content["payload"] is None
    assert content["payload_error"]


def test_fals_documented_procedure_accepts_the_signature(tmp_path: Path) -> None:
    keys = webhook.load_or_create_keys(tmp_path)
    body = webhook.payload("r1", succeeded=True, status=200, body="{}")
    sha256 = hashlib.sha256(body).hexdigest()
    headers = webhook.signed_headers(keys, request_id="r1", user_id="u1", timestamp_s=1_700_000_000, sha256=sha256)
    message = "\n".join(["r1", "u1", "1700000000", sha256]).encode()
    signature = bytes.fromhex(headers["X-Fal-Webhook-Signature"])
    (jwk,) = keys.jwks()["keys"]
    # fal's sample decodes without adding any padding
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"]))
    key.verify(signature, message)
    with pytest.raises(InvalidSignature):
        key.verify(signature, message + b"x")


def test_a_jose_library_reads_the_key_set(tmp_path: Path) -> None:
    keys = webhook.load_or_create_keys(tmp_path)
    (key,) = jwt.PyJWKSet.from_dict(keys.jwks()).keys
    assert (key.key_type, key.algorithm_name) == ("OKP", "EdDSA")


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [keys.jwks() for keys in pool.map(webhook.load_or_create_keys, [tmp_path / "keys"] * 16)]
    assert all(jwks == made[0] for jwks in made)
    (path,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_key_signs_and_the_first_stays_published(tmp_path: Path) -> None:
    old = webhook.load_or_create_keys(tmp_path)
    (tmp_path / "other").mkdir()
    webhook.load_or_create_keys(tmp_path / "other")
    (tmp_path / "other" / "webhook-1.pem").rename(tmp_path / "webhook-2.pem")
    both = webhook.load_or_create_keys(tmp_path)
    assert both.jwks()["keys"][0] == old.jwks()["keys"][0]
    assert len(both.jwks()["keys"]) == 2
    assert both.sign(b"m") != old.sign(b"m")


def test_a_file_that_is_no_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nonsense")
    with pytest.raises(WrongSetting, match="WEBHOOK_KEYS_DIR"):
        webhook.load_or_create_keys(tmp_path)
