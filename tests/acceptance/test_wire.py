"""The wire under the clients: codes, headers and bodies that older and other clients of fal rely on."""

import json
import shutil
import subprocess

import httpx
import pytest

from tests.acceptance.harness.caller import (
    APP,
    ENDPOINT,
    KEY,
    Caller,
    arguments,
    long_arguments,
    running,
)
from tests.acceptance.harness.pictures import photo_uri
from tests.acceptance.harness.server import Server
from tests.acceptance.harness.waiting import until

NOBODY = "0197d2f4-5b2a-7000-8000-000000000000"


def test_submit_answers_with_everything(caller: Caller, server: Server) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", json=arguments())

    body = answer.json()
    address = f"{server.url}/{APP}/requests/{body['request_id']}"
    assert answer.status_code == 200
    assert (
        body.items()
        >= {
            "status": "IN_QUEUE",
            "response_url": address,
            "status_url": f"{address}/status",
            "cancel_url": f"{address}/cancel",
            "logs": None,
            "metrics": {},
        }.items()
    )
    assert isinstance(body["queue_position"], int)
    assert body["gateway_request_id"]
    caller.finish(body["request_id"])


def test_every_status_has_its_code(caller: Caller) -> None:
    with running(caller) as id:
        progressing = caller.status(id)
        early = caller.result(id)
    done = caller.status(id, logs=True)

    assert (progressing.status_code, progressing.json()["status"]) == (202, "IN_PROGRESS")
    assert progressing.json()["logs"] is None
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})
    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert done.json().keys() >= {"request_id", "response_url", "status_url", "cancel_url", "logs", "metrics"}
    assert isinstance(done.json()["logs"], list)


@pytest.mark.parametrize("logs", ["1", "0", "true", "false", "True", ""])
def test_logs_may_be_asked_for_in_several_spellings(caller: Caller, logs: str) -> None:
    id = caller.submit(arguments())
    caller.finish(id)

    body = caller.call("GET", f"/{APP}/requests/{id}/status", params={"logs": logs}).json()

    assert isinstance(body["logs"], list) == (logs.lower() in {"1", "true"})


@pytest.mark.parametrize("form", ["{app}/requests/{id}", "{endpoint}/requests/{id}"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_older_forms_of_every_address(caller: Caller, form: str, slash: str) -> None:
    """The older SDK calls with a trailing slash, follows no redirect, and takes 200 for completed."""
    with running(caller) as id:
        base = "/" + form.format(app=APP, endpoint=ENDPOINT, id=id)
        assert caller.call("GET", f"{base}/status{slash}").status_code == 202
        assert caller.call("GET", f"{base}{slash}").status_code == 400
        assert caller.call("PUT", f"{base}/cancel{slash}").status_code == 202
        until(
            lambda: caller.call("GET", f"{base}/status{slash}").status_code == 200, within_s=15, what="it is completed"
        )
        assert caller.call("GET", f"{base}{slash}").status_code == 499
        assert caller.call("GET", f"{base}/response{slash}").status_code == 499
        assert caller.call("PUT", f"{base}/cancel{slash}").status_code == 400


@pytest.mark.parametrize("path", [f"/{ENDPOINT}/", f"/run/{ENDPOINT}/"])
def test_posting_with_a_trailing_slash(caller: Caller, path: str) -> None:
    assert caller.call("POST", path, json=arguments()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/{APP}/requests/{NOBODY}/status"),
        ("GET", f"/{APP}/requests/{NOBODY}"),
        ("GET", f"/{APP}/requests/{NOBODY}/status/stream"),
        ("PUT", f"/{APP}/requests/{NOBODY}/cancel"),
        ("GET", f"/{APP}/requests/no-id-at-all/status"),
    ],
)
def test_an_unknown_request_is_not_found(caller: Caller, method: str, path: str) -> None:
    answer = caller.call(method, path)

    assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


def test_another_key_sees_nothing(caller: Caller, server: Server) -> None:
    id = caller.submit(arguments())
    caller.finish(id)
    stranger = Caller(server.url, key="somebody:else")

    answers = [stranger.status(id), stranger.result(id), stranger.cancel(id)]
    stranger.close()

    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, {"status": "NOT_FOUND"})] * 3


def test_another_model_is_not_here(caller: Caller) -> None:
    for path in ("/fal-ai/flux/dev", "/run/fal-ai/flux/dev", "/nothing"):
        answer = caller.call("POST", path, json={})
        assert answer.status_code == 404
        assert isinstance(answer.json()["detail"], str)


def test_a_stream_is_server_sent_events_up_to_completion(caller: Caller) -> None:
    id = caller.submit(long_arguments(num_inference_steps=12))

    sent = stream(caller, id)
    events = [json.loads(data) for data in sent]

    assert events[-1]["status"] == "COMPLETED"
    assert {event["request_id"] for event in events} == {id}
    streamed = [message for data in sent for message in messages(data)]
    assert streamed == [log["message"] for log in caller.status(id, logs=True).json()["logs"]]
    steps = [event["progress"]["step"] for event in events if event.get("progress")]
    assert steps == sorted(steps)
    assert steps[-1] == 12


def test_a_broken_stream_resumes_without_a_gap(caller: Caller) -> None:
    id = caller.submit(long_arguments(num_inference_steps=25))
    seen: list[str] = []
    last = ""
    with caller.http.stream("GET", f"/{APP}/requests/{id}/status/stream", params={"logs": 1}) as response:
        for line in response.iter_lines():
            if line.startswith("id:"):
                last = line.removeprefix("id:").strip()
            if line.startswith("data:"):
                seen += messages(line.removeprefix("data:"))
            if not line and seen:
                break

    for data in stream(caller, id, headers={"Last-Event-ID": last}):
        seen += messages(data)

    assert seen == [log["message"] for log in caller.status(id, logs=True).json()["logs"]]


def stream(caller: Caller, id: str, headers: dict[str, str] | None = None) -> list[str]:
    """The data of every event, once the server has closed the stream."""
    path = f"/{APP}/requests/{id}/status/stream"
    with caller.http.stream("GET", path, params={"logs": 1}, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-fal-request-id"]
        return [line.removeprefix("data:") for line in response.iter_lines() if line.startswith("data:")]


def messages(data: str) -> list[str]:
    logs: list[dict[str, str]] | None = json.loads(data)["logs"]
    return [log["message"] for log in logs or []]


@pytest.mark.parametrize(
    ("target", "path"),
    [("https://queue.fal.run", "queue"), ("https://fal.run", "run"), ("https://rest.fal.ai", "rest")],
)
def test_the_proxy_protocol_leads_to_every_origin(caller: Caller, target: str, path: str) -> None:
    addresses = {
        "queue": f"/{ENDPOINT}",
        "run": f"/{ENDPOINT}",
        "rest": "/storage/upload/initiate?storage_type=fal-cdn-v3",
    }
    body = {"file_name": "a.png", "content_type": "image/png"} if path == "rest" else arguments()

    answer = caller.call("POST", "/api/fal/proxy", json=body, headers={"x-fal-target-url": target + addresses[path]})

    wanted = {"queue": "request_id", "run": "images", "rest": "upload_url"}[path]
    assert answer.status_code == 200
    assert wanted in answer.json()


def test_the_proxy_protocol_passes_method_and_query_on(caller: Caller) -> None:
    id = caller.submit(arguments())
    caller.finish(id)
    target = f"https://queue.fal.run/{APP}/requests/{id}"

    status = caller.call("GET", "/api/fal/proxy", headers={"x-fal-target-url": f"{target}/status?logs=1"})
    late = caller.call("PUT", "/api/fal/proxy", headers={"x-fal-target-url": f"{target}/cancel"})

    assert isinstance(status.json()["logs"], list)
    assert (late.status_code, late.json()) == (400, {"status": "ALREADY_COMPLETED"})


@pytest.mark.parametrize(
    "target", [None, "", "https://evil.example/fal-ai/kolors", "http://127.0.0.1:1/", "file:///etc/passwd", "nonsense"]
)
def test_the_proxy_protocol_leads_nowhere_else(caller: Caller, target: str | None) -> None:
    headers = {} if target is None else {"x-fal-target-url": target}

    answer = caller.call("POST", "/api/fal/proxy", json=arguments(), headers=headers)

    assert 400 <= answer.status_code < 500
    assert isinstance(answer.json()["detail"], str)


def test_the_host_decides_like_the_path(caller: Caller) -> None:
    submitted = caller.call("POST", f"/{ENDPOINT}", json=arguments(), headers={"Host": "queue.fal.run"}).json()
    direct = caller.call("POST", f"/{ENDPOINT}", json=arguments(), headers={"Host": "fal.run"}).json()
    upload = caller.call(
        "POST",
        "/storage/upload/initiate?storage_type=fal-cdn-v3",
        json={"file_name": "a.png", "content_type": "image/png"},
        headers={"Host": "rest.alpha.fal.ai"},
    )

    assert submitted["status_url"] == f"http://queue.fal.run/{APP}/requests/{submitted['request_id']}/status"
    assert direct["images"][0]["url"].startswith("http://")
    assert upload.status_code == 200


def test_a_bearer_key_is_a_key_too(server: Server) -> None:
    bearer = Caller(server.url, key=None)
    bearer.http.headers["Authorization"] = f"Bearer {KEY}"

    assert bearer.run(arguments()).status_code == 200
    bearer.close()


def test_browsers_may_call(caller: Caller) -> None:
    preflight = caller.http.options(
        f"/{ENDPOINT}",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-fal-queue-priority",
        },
    )
    answer = caller.call("POST", f"/run/{ENDPOINT}", json=arguments(), headers={"Origin": "https://app.example"})
    refused = caller.call("GET", f"/{APP}/requests/{NOBODY}", headers={"Origin": "https://app.example"})

    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-allow-origin"] == refused.headers["access-control-allow-origin"] == "*"
    assert (
        answer.headers["access-control-expose-headers"] == "*"
        or "x-fal-request-id" in answer.headers["access-control-expose-headers"].lower()
    )


def test_no_accept_header_matters(caller: Caller) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", json=arguments(), headers={"Accept": "image/png"})

    assert answer.headers["content-type"].startswith("application/json")
    assert answer.status_code == 200


def test_unknown_fields_do_no_harm(caller: Caller) -> None:
    assert caller.run(arguments(loras=[1], embeddings={"a": None})).status_code == 200


def test_the_curl_of_the_documentation(server: Server) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    body = json.dumps({"prompt": "a capybara wearing sunglasses", "image_url": photo_uri(), "num_inference_steps": 2})
    call = [curl, "--silent", "--show-error", "--fail", "--request", "POST", "--url", f"{server.url}/run/{ENDPOINT}"]
    call += ["--header", "Authorization: Key id:secret", "--header", "Content-Type: application/json", "--data", body]

    output = json.loads(subprocess.run(call, check=True, capture_output=True, timeout=60).stdout)

    assert output["images"][0]["content_type"] == "image/png"


def test_a_file_link_needs_no_key_and_serves_ranges(caller: Caller) -> None:
    link = caller.complete(arguments())["images"][0]["url"]

    whole = httpx.get(link, follow_redirects=True)
    part = httpx.get(link, headers={"Range": "bytes=1-3"}, follow_redirects=True)
    again = httpx.get(link, headers={"If-None-Match": whole.headers["etag"]}, follow_redirects=True)

    assert whole.headers["content-type"] == "image/png"
    assert (part.status_code, part.content) == (206, whole.content[1:4])
    assert again.status_code == 304


def test_files_live_as_long_as_asked(caller: Caller, server: Server) -> None:
    lifecycle = {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 3}'}
    id = caller.submit(arguments(), headers=lifecycle)
    link = caller.finish(id).json()["images"][0]["url"]
    kept = caller.complete(arguments())["images"][0]["url"]
    file = server.data_dir / "files" / link.partition("/files/")[2]
    assert httpx.get(link).status_code == 200
    assert file.exists()

    until(lambda: httpx.get(link).status_code == 404, within_s=15, what="the link has ended")
    until(lambda: not file.exists(), within_s=15, what="the file is swept away")

    assert httpx.get(kept).status_code == 200


def test_the_same_idempotency_key_is_the_same_request(caller: Caller) -> None:
    key = {"Idempotency-Key": f"once-{NOBODY}"}
    body = arguments(seed=None)

    first, second = caller.submit(body, headers=key), caller.submit(body, headers=key)
    other = caller.call("POST", f"/{ENDPOINT}", json=body | {"strength": 0.9}, headers=key)

    assert first == second
    assert other.status_code == 422
    assert caller.finish(first).status_code == 200


def test_openapi_describes_the_endpoint(caller: Caller) -> None:
    document = caller.http.get("/api/openapi/queue/openapi.json", params={"endpoint_id": ENDPOINT}).json()

    assert f"/{ENDPOINT}" in document["paths"]
    assert f"/{ENDPOINT}/requests/{{request_id}}/status" in document["paths"]
    schemas = json.dumps(document["components"]["schemas"])
    for field in ("image_url", "num_inference_steps", "enable_safety_checker", "has_nsfw_concepts", "landscape_16_9"):
        assert field in schemas
    assert caller.http.get("/openapi.json").json()["paths"]


def test_health_and_readiness(caller: Caller) -> None:
    assert caller.call("GET", "/health").status_code == 200
    assert caller.call("GET", "/ready").status_code == 200
    assert "kolors" in caller.http.get("/metrics").text
