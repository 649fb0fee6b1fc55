"""What nobody may read: secrets in logs, our own addresses and folders in answers."""

import json
import logging
from pathlib import Path

import httpx
import pytest

from api.settings import ApiSettings
from shared import logs
from tests.conftest import Valkey
from tests.integration.api.live import live

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png?signature=picture-secret"}


def _broken(body: bytes) -> object:
    raise ZeroDivisionError


@pytest.mark.timeout(60)
def test_no_log_line_tells_a_secret(
    keyed: ApiSettings, valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the most talkative level, through good calls, bad ones and faults of everything behind the API."""
    for ours in ("httpcore", "httpx"):
        caplog.set_level(logging.CRITICAL, ours)  # of this test's own client, not of the API
    caplog.set_level(logging.DEBUG)
    with live(keyed) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        key = {"Authorization": "Key id:secret", "Idempotency-Key": "idempotency-secret"}
        client.post(ENDPOINT, json=INPUT, headers=key, params={"fal_webhook": "https://a.test/webhook-secret"})
        client.post(ENDPOINT, json={"prompt": 1, "image_url": "field-secret"}, headers=key)
        for wrong in ("Key id:wrong-secret", "Basic basic-secret", "Bearer kolors-upload.grant-secret.x"):
            client.post(ENDPOINT, json=INPUT, headers={"Authorization": wrong})
            client.post("/files/upload", content=b"x", headers={"Authorization": wrong})
        place = client.post("/storage/upload/initiate", json={}, headers=key).json()
        grant = place["upload_url"].partition("grant=")[2]
        client.put(place["upload_url"], content=b"x")
        client.put(place["upload_url"], content=b"y")
        token = client.post("/storage/auth/token", json={}, headers=key).json()["token"]
        client.post("/files/upload", content=b"x", headers={"Authorization": f"Bearer {token}"})
        valkey.stop()
        try:
            assert client.post(ENDPOINT, json=INPUT, headers=key).status_code == 503
        finally:
            valkey.start()
        monkeypatch.setattr("api.submissions.read_input", _broken)
        assert client.post(ENDPOINT, json=INPUT, headers=key).status_code == 500
    said = "\n".join(logs.JsonLines("api").format(record) for record in caplog.records)
    assert "ZeroDivisionError" in said  # it did listen
    secrets = ["id:secret", "idempotency-secret", "webhook-secret", "picture-secret", "field-secret", "wrong-secret"]
    for secret in [*secrets, "basic-secret", "grant-secret", grant, token]:
        assert secret not in said


def test_an_answer_tells_nothing_of_where_files_are_kept(
    client: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = client.post("/files/upload", content=b"x").json()["access_url"]
    (sidecar,) = (tmp_path / "files" / "uploads").rglob(".*.json")
    sidecar.write_text("{")
    (tmp_path / "files" / ".incoming").rmdir()
    for answer in (client.get(link), client.post("/files/upload", content=b"x")):
        assert answer.status_code == 503
        assert answer.json()["detail"] == "The file store cannot answer right now."
        assert str(tmp_path) not in json.dumps(dict(answer.headers)) + answer.text
    assert "the file store" in caplog.text
