"""Calls that say two things at once: whoever stands between may have judged by the other one, so they are refused."""

import httpx
import pytest

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
LIFE = '{"expiration_duration_seconds": 60}'
DECIDING = [
    ("Idempotency-Key", "a", "b"),
    ("X-Fal-Request-Timeout", "30", "60"),
    ("X-Total-Timeout", "30", "60"),
    ("X-Fal-Queue-Priority", "normal", "low"),
    ("X-Fal-Store-IO", "0", "1"),
    ("X-Fal-No-Retry", "0", "1"),
    ("X-Fal-Object-Lifecycle-Preference", LIFE, "{}"),
]


def _refused(answer: httpx.Response, name: str) -> None:
    assert answer.status_code == 400
    assert answer.json() == {"detail": f"There is more than one {name.lower()} header", "error_type": "bad_request"}


@pytest.mark.parametrize(("name", "one", "other"), DECIDING)
def test_a_submission_says_one_thing(client: httpx.Client, name: str, one: str, other: str) -> None:
    for path in (ENDPOINT, f"/run{ENDPOINT}"):
        for values in ((one, other), (other, one)):
            _refused(client.post(path, json=INPUT, headers=[(name, value) for value in values]), name)
    for values in ((one,), (one, one)):
        assert client.post(ENDPOINT, json=INPUT, headers=[(name, value) for value in values]).status_code == 200


def test_an_upload_is_kept_for_one_time(client: httpx.Client) -> None:
    for name in ("X-Fal-Object-Lifecycle", "X-Fal-Object-Lifecycle-Preference"):
        _refused(client.post("/files/upload", content=b"x", headers=[(name, LIFE), (name, "{}")]), name)
    both = {"X-Fal-Object-Lifecycle": LIFE, "X-Fal-Object-Lifecycle-Preference": "{}"}  # as fal's Python client does
    assert client.post("/files/upload", content=b"x", headers=both).status_code == 200


def test_the_proxy_is_told_one_target(client: httpx.Client) -> None:
    hosts = ("queue.fal.run", "fal.run")
    targets = [("x-fal-target-url", f"https://{host}{ENDPOINT}") for host in hosts]
    _refused(client.post("/api/fal/proxy", json=INPUT, headers=targets), "x-fal-target-url")
