"""Health, readiness, metrics, documents, and what every answer has in common."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

from api.settings import ApiSettings
from shared.queue import commands
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from tests.conftest import Valkey
from tests.integration.api.live import live
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}


def test_ready_means_a_loaded_worker(keyed: ApiSettings, hand: Hand) -> None:
    hand.appear(ready=False)
    with live(keyed) as url:
        answer = httpx.get(f"{url}/ready", trust_env=False)
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "redis": True, "store": True, "keys": True, "workers": 0}
    hand.appear()
    with live(keyed) as url:
        answer = httpx.get(f"{url}/ready", trust_env=False)
    assert (answer.status_code, answer.json()["workers"]) == (200, 1)


def test_another_store_than_everybodys_is_never_ready(keyed: ApiSettings, redis_url: str) -> None:
    redis = open_sync(redis_url)
    run_sync(redis, commands.bind_store("somebody else's"))
    redis.close()
    with live(keyed) as url:
        assert httpx.get(f"{url}/ready", trust_env=False).json()["store"] is False


@pytest.mark.timeout(60)
def test_without_redis_there_are_answers_too(client: httpx.Client, valkey: Valkey) -> None:
    receipt = client.post(ENDPOINT, json=INPUT).json()
    valkey.kill()
    try:
        for method, path in (
            ("POST", ENDPOINT),
            ("POST", f"/run{ENDPOINT}"),
            ("GET", receipt["status_url"]),
            ("GET", receipt["response_url"]),
            ("PUT", receipt["cancel_url"]),
        ):
            answer = client.request(method, path, json=INPUT)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert set(answer.json()) == {"detail", "error_type"}
        assert client.get("/health").status_code == 200
        assert client.get("/ready").json()["redis"] is False
        assert "kolors_redis_up 0.0" in client.get("/metrics").text
    finally:
        valkey.start()
    assert client.get(receipt["status_url"]).status_code == 202


@pytest.mark.timeout(60)
def test_a_full_redis_is_said_to_be_unavailable(client: httpx.Client, redis_url: str) -> None:
    redis = open_sync(redis_url)
    redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        answer = client.post(ENDPOINT, json=INPUT)
    finally:
        redis.execute_command("CONFIG", "SET", "maxmemory", "0")
        redis.close()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_metrics_tell_of_the_queue_and_of_http(client: httpx.Client, hand: Hand) -> None:
    client.post(ENDPOINT, json=INPUT)
    client.post(ENDPOINT, json=INPUT)
    hand.claim()
    hand.appear()
    text = client.get("/metrics").text
    for line in (
        "kolors_queue_depth 1.0",
        "kolors_running 1.0",
        'kolors_workers{state="ready"} 1.0',
        "kolors_workers_busy 0.75",
        'kolors_http_seconds_count{method="POST",route="submit",status="200"} 2.0',
    ):
        assert line in text.splitlines()


def test_the_document_is_fals(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")
    document: dict[str, Any] = answer.json()
    assert document == client.get(f"/api/openapi/queue/openapi.json?endpoint_id={ENDPOINT[1:]}").json()
    assert client.get("/api/openapi/queue/openapi.json?endpoint_id=fal-ai/flux").status_code == 404
    assert document["info"]["x-fal-metadata"]["endpointId"] == ENDPOINT[1:]
    assert document["servers"] == [{"url": str(client.base_url).rstrip("/")}]
    schema = document["components"]["schemas"]["KolorsImg2ImgInput"]
    assert schema["required"] == ["prompt", "image_url"]
    assert schema["x-fal-order-properties"] == list(schema["properties"])
    fields = schema["properties"]
    assert "capybara" in fields["prompt"]["examples"][0]
    assert (fields["strength"]["minimum"], fields["strength"]["maximum"]) == (0.01, 1)
    assert len(fields["scheduler"]["enum"]) == 6
    assert {"$ref": "#/components/schemas/ImageSize"} in fields["image_size"]["anyOf"]
    assert any("square_hd" in choice.get("enum", ()) for choice in fields["image_size"]["anyOf"])
    assert fields["seed"]["type"] == "integer"
    assert '"null"' not in answer.text


def test_the_public_key_is_served_with_padding(client: httpx.Client) -> None:
    (key,) = client.get("/.well-known/jwks.json").json()["keys"]
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    assert len(base64.urlsafe_b64decode(key["x"])) == 32
    assert client.get("/.well-known/jwks.json", headers={"Host": "rest.fal.ai"}).json()["keys"] == [key]


def test_the_index_is_a_page(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "image-to-image" in answer.text


def test_the_page_runs_nothing_but_its_own_and_in_nobodys_frame(client: httpx.Client) -> None:
    answer = client.get("/")
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy["script-src"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"\son[a-z]+=|\sstyle=|javascript:", answer.text)  # which the policy would not run
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_browsers_may_call_from_anywhere(client: httpx.Client) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,x-fal-target-url",
    }
    preflight = client.options(ENDPOINT, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-fal-target-url"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    answer = client.get("/nowhere")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-fal-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, {"detail": "Path /nowhere not found"}),
        ("POST", "/fal-ai/kolors", 404, {"detail": "Path / not found"}),
        ("POST", "/fal-ai/flux/dev", 404, {"detail": "Application 'flux' of 'fal-ai' not found"}),
        ("GET", ENDPOINT, 405, {"detail": "Method Not Allowed"}),
        ("POST", "/fal-ai/kolors/requests/x/cancel", 405, {"detail": "Method Not Allowed"}),
        ("DELETE", "/api/fal/proxy", 405, {"detail": "Method Not Allowed"}),
    ],
)
def test_refusals_are_json_with_a_request_id(
    client: httpx.Client, method: str, path: str, status: int, body: dict[str, str]
) -> None:
    answer = client.request(method, path, headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers["x-fal-request-id"]


def test_a_head_has_the_headers_of_a_get(client: httpx.Client) -> None:
    receipt = client.post(ENDPOINT, json=INPUT).json()
    head, get = client.head(receipt["status_url"]), client.get(receipt["status_url"])
    assert (head.status_code, head.content) == (202, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
