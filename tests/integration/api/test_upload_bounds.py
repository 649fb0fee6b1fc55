"""What is kept of an upload in parts is bounded, in bytes and in time, over both stores."""

import base64
import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace

import httpx
import pytest

from api import grants
from api.settings import ApiSettings
from shared.files.open import open_store
from shared.queue.connect import open_sync
from worker import sweeps
from worker.sweeps import Sweep

MIB = 1024 * 1024
KEY = {"Authorization": "Key id:secret"}


pytestmark = pytest.mark.parametrize("storage_url", ["file", "s3"], indirect=True)


@pytest.fixture
def settings(keyed: ApiSettings, storage_url: str) -> ApiSettings:
    return keyed.model_copy(update={"storage_url": storage_url, "max_upload_bytes": 24 * MIB})


def _begin(api: httpx.Client) -> tuple[str, str]:
    """Where its parts go, and where the file will be."""
    answer = api.post("/storage/upload/initiate-multipart", headers=KEY, json={}).raise_for_status().json()
    return answer["upload_url"], answer["file_url"]


def test_parts_that_are_too_much_together_are_too_large(api: httpx.Client) -> None:
    begun = api.post("/files/upload/multipart", headers=KEY).json()
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}"

    def send(number: int, content: bytes) -> httpx.Response:
        return httpx.put(f"{url}/{number}", headers=KEY, content=content, trust_env=False, timeout=60)

    firsts = [send(1, bytes([again]) * 9 * MIB).raise_for_status().json() for again in range(4)]
    second = send(2, b"x" * 9 * MIB).raise_for_status().json()
    too_much, of_one = send(3, b"x" * 9 * MIB), send(2, b"x" * 25 * MIB)

    assert (too_much.status_code, too_much.json()) == (413, of_one.json())
    for first, status in ((firsts[0], 400), (firsts[-1], 200)):
        body = {"parts": [first, second]}
        answer = httpx.post(f"{url}/complete", headers=KEY, json=body, trust_env=False, timeout=60)
        assert answer.status_code == status
    assert len(api.get(begun["access_url"], follow_redirects=True).content) == 18 * MIB


def test_a_file_that_is_too_large_does_not_stay(api: httpx.Client, settings: ApiSettings) -> None:
    """However its parts came to be more: at once, or while more was allowed."""
    upload_url, file_url = _begin(api)
    path, _, query = upload_url.partition("?")
    grant = json.loads(base64.urlsafe_b64decode(query.partition("kolors-upload.")[2].partition(".")[0] + "=="))
    parts: list[dict[str, object]] = []
    for number in range(1, 4):
        content = BytesIO(b"x" * 9 * MIB)
        part = open_store(settings).put_part(grant["key"], grant["upload"], number, content, most_bytes=27 * MIB)
        parts.append({"partNumber": number, "etag": part.etag})

    answer = httpx.post(f"{path}/complete?{query}", json={"parts": parts}, trust_env=False, timeout=60)

    assert answer.status_code == 413
    assert api.get(file_url, follow_redirects=True).status_code == 404


def test_parts_are_kept_as_long_as_they_may_be_joined_and_not_much_longer(
    api: httpx.Client, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_s = time.time()
    place, late = _begin(api), _begin(api)

    def send(upload_url: str) -> dict[str, object]:
        return api.put(upload_url.replace("?", "/1?"), content=b"picture").raise_for_status().json()

    def pass_by(after: timedelta) -> None:
        now = datetime.fromtimestamp(begun_s, UTC) + after

        def told(_: object) -> datetime:
            return now

        monkeypatch.setattr(grants, "time", SimpleNamespace(time=now.timestamp))
        monkeypatch.setattr(sweeps, "datetime", SimpleNamespace(now=told))
        with closing(open_sync(settings.redis_url)) as redis:
            Sweep(redis, open_store(settings)).round()

    part = send(place[0])
    pass_by(timedelta(hours=24, seconds=299))
    assert api.post(place[0].replace("?", "/complete?"), json={"parts": [part]}).status_code == 200
    send(late[0])
    pass_by(timedelta(hours=25, minutes=1))
    monkeypatch.setattr(grants, "time", time)
    assert api.put(late[0].replace("?", "/2?"), content=b"more").status_code == 404
