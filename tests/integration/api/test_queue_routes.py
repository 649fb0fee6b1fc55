"""The queue origin over the wire: each answer's code, body and headers, in each state of a request."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.context import Context
from api.settings import ApiSettings
from shared.errors import ServiceUnavailable
from shared.files import keys
from shared.files.open import open_store
from shared.queue import scripts
from shared.queue.commands import Command
from shared.queue.records import Lease
from shared.queue.states import State
from shared.wire.image import Input
from tests.integration.api.live import live
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
REQUESTS = "/fal-ai/kolors/requests"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
PIXEL = base64.b64encode(b"no picture, but bytes").decode()
UNKNOWN = "0198e951-c778-7120-9c82-16efcf40ec82"


def _submit(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(ENDPOINT, json=INPUT | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _status(client: httpx.Client, id: str, **query: str) -> httpx.Response:
    return client.get(f"{REQUESTS}/{id}/status", params=query)


def test_a_request_from_submit_to_result(client: httpx.Client, hand: Hand) -> None:
    answer = client.post(ENDPOINT, json=INPUT, headers={"Accept": "image/png"})
    receipt = answer.json()
    id = receipt["request_id"]
    url = f"{client.base_url}".rstrip("/") + f"{REQUESTS}/{id}"
    assert receipt == {
        "status": "IN_QUEUE",
        "request_id": id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
        "logs": None,
        "metrics": {},
        "queue_position": 0,
        "gateway_request_id": id,
    }
    assert answer.headers["x-fal-request-id"] == id
    second = _submit(client)

    waiting = _status(client, second["request_id"], logs="1")
    assert waiting.status_code == 202
    assert (waiting.json()["status"], waiting.json()["queue_position"]) == ("IN_QUEUE", 1)
    assert waiting.json()["logs"] is None
    early = client.get(f"{REQUESTS}/{id}")
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})

    attempt = hand.claim()
    assert attempt.held.id == id
    hand.report(attempt, 5, "halfway")
    running = _status(client, id, logs="true")
    assert running.status_code == 202
    body = running.json()
    assert body["status"] == "IN_PROGRESS"
    assert [line["message"] for line in body["logs"]] == ["halfway"]
    assert body["logs"][0]["labels"] == {"level": "INFO"}
    assert body["progress"]["step"] == 5
    assert body["progress"]["steps"] == 10
    assert body["progress"]["eta_seconds"] >= 0
    assert _status(client, id).json()["logs"] is None

    hand.finish(attempt)
    done = _status(client, id, logs="1")
    assert done.status_code == 200
    assert done.json()["metrics"] == {"inference_time": 1.5, "gpu_seconds": 0.5}
    assert done.json()["logs"] == body["logs"]
    assert "error" not in done.json()
    assert _status(client, id).json() == _status(client, id).json()
    result = client.get(f"{REQUESTS}/{id}")
    assert (result.status_code, result.text) == (200, '{"seed":1}')
    assert result.headers["x-fal-request-id"] == id


def test_every_spelling_of_a_requests_path(client: httpx.Client, hand: Hand) -> None:
    id = _submit(client)["request_id"]
    hand.finish(hand.claim())
    for prefix in (REQUESTS, f"{ENDPOINT}/requests"):
        for suffix in ("", "/", "/response", "/response/"):
            assert client.get(f"{prefix}/{id}{suffix}").status_code == 200
        for suffix in ("/status", "/status/"):
            assert client.get(f"{prefix}/{id}{suffix}").json()["status"] == "COMPLETED"
        assert client.put(f"{prefix}/{id}/cancel/").status_code == 400


def test_an_input_that_breaks_the_schema_becomes_a_failed_request(client: httpx.Client, hand: Hand) -> None:
    receipt = client.post(ENDPOINT, json={"prompt": "p", "strength": 2}).json()
    id = receipt["request_id"]
    status = _status(client, id, logs="1")
    assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
    assert "image_url" in status.json()["error"]
    assert status.json()["error_type"] == "missing"
    result = client.get(receipt["response_url"])
    assert result.status_code == 422
    assert {item["type"] for item in result.json()["detail"]} == {"missing", "less_than_equal"}
    assert result.headers["x-fal-retryable"] == "false"
    assert "x-fal-error-type" not in result.headers
    with pytest.raises(AssertionError):
        hand.claim()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b'{"prompt":"\\ud800"}', b'{"a":' + b"[" * 50_000, b"9" * 9000]
)
def test_a_body_that_is_no_object_is_refused_at_once(client: httpx.Client, body: bytes) -> None:
    answer = client.post(ENDPOINT, content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    assert answer.headers["x-fal-request-id"]


def test_nuls_and_every_plane_of_unicode_go_through(client: httpx.Client, hand: Hand) -> None:
    prompt = "a\0b \U0001f9a9 \u202e ü"
    _submit(client, prompt=prompt, negative_prompt="\0")
    assert Input.model_validate_json(hand.claim().input).prompt == prompt


def test_invalid_input_can_be_refused_directly(keyed: ApiSettings) -> None:
    settings = keyed.model_copy(update={"reject_invalid_at_submit": True})
    with live(settings) as url:
        answer = httpx.post(url + ENDPOINT, json={}, headers={"Authorization": "Key id:secret"}, trust_env=False)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "missing"


def test_a_body_may_not_be_larger_than_allowed(client: httpx.Client) -> None:
    said = client.post(ENDPOINT, content=b"x" * 200_001)
    streamed = client.post(ENDPOINT, content=(b"x" * 50_000 for _ in range(5)))
    for answer in (said, streamed):
        assert answer.status_code == 413
        assert answer.json()["error_type"] == "bad_request"


def test_the_seed_is_fixed_at_submit(client: httpx.Client, hand: Hand) -> None:
    _submit(client)
    _submit(client, seed=77)
    drawn, given = (Input.model_validate_json(hand.claim().input).seed for _ in range(2))
    assert drawn is not None
    assert drawn < 2**53
    assert given == 77


def test_what_headers_and_query_ask_for_reaches_the_queue(client: httpx.Client, hand: Hand) -> None:
    low = client.post(ENDPOINT, json=INPUT, headers={"X-Fal-Queue-Priority": "low"}).json()["request_id"]
    plain = client.post(
        ENDPOINT,
        json=INPUT | {"image_size": "square", "num_images": 2},
        params={"fal_webhook": "https://example.com/hook?a=b"},
        headers={
            "X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 60}',
            "X-Total-Timeout": "90",
            "x-fal-request-timeout": "30",
            "X-Fal-Runner-Hint": "ignored",
        },
    ).json()["request_id"]
    attempt = hand.claim()
    assert attempt.held.id == plain  # the low lane waits
    assert attempt.cost_px == 2 * 512 * 512
    assert attempt.file_ttl_s == 60
    assert attempt.total_timeout_ms is not None
    assert 80_000 < attempt.total_timeout_ms <= 90_000
    assert attempt.base == str(client.base_url).rstrip("/")
    assert hand.claim().held.id == low


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"fal_webhook": "ftp://example.com"}, {}),
        ({"fal_webhook": ""}, {}),
        ({"fal_webhook": "https://"}, {}),
        ({"fal_webhook": "https://[::1"}, {}),
        ({"fal_webhook": "https://example.com/a b"}, {}),
        ({"fal_webhook": "https://user:secret@example.com/"}, {}),
        ({"fal_webhook": "https://example.com\\@example.org/"}, {}),
        ({"fal_max_queue_length": "-1"}, {}),
        ({"fal_max_queue_length": "many"}, {}),
        ({}, {"X-Fal-Request-Timeout": "soon"}),
        ({}, {"X-Total-Timeout": "0"}),
        ({}, {"X-Fal-Queue-Priority": "urgent"}),
        ({}, {"X-Fal-Object-Lifecycle-Preference": "{"}),
        ({}, {"Idempotency-Key": "x" * 300}),
    ],
)
def test_nonsense_around_the_body_is_a_bad_request(
    client: httpx.Client, query: dict[str, str], headers: dict[str, str]
) -> None:
    answer = client.post(ENDPOINT, json=INPUT, params=query, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error_type"] == "bad_request"
    assert answer.headers["x-fal-error-type"] == "bad_request"


def test_a_queue_that_is_too_long(client: httpx.Client) -> None:
    _submit(client)
    _submit(client)
    answer = client.post(ENDPOINT, json=INPUT, params={"fal_max_queue_length": "1"})
    assert answer.status_code == 429
    assert answer.headers["x-fal-needs-retry"] == "1"
    assert answer.headers["retry-after"]
    assert client.post(ENDPOINT, json=INPUT, params={"fal_max_queue_length": "5"}).status_code == 200


def test_a_key_may_not_have_more_waiting_than_the_setting_allows(keyed: ApiSettings) -> None:
    with live(keyed.model_copy(update={"key_max_queued": 2})) as url:
        for key, statuses in (("id:secret", [200, 200, 429]), ("other:secret", [200])):
            headers = {"Authorization": f"Key {key}"}
            answers = [httpx.post(url + ENDPOINT, json=INPUT, headers=headers, trust_env=False) for _ in statuses]
            assert [answer.status_code for answer in answers] == statuses
        refused = httpx.post(url + ENDPOINT, json=INPUT, headers={"Authorization": "Key id:secret"}, trust_env=False)
        run = httpx.post(
            url + "/run" + ENDPOINT, json=INPUT, headers={"Authorization": "Key id:secret"}, trust_env=False
        )
    assert refused.json()["error_type"] == refused.headers["x-fal-error-type"] == "concurrent_requests_limit"
    assert (refused.headers["x-fal-needs-retry"], refused.headers["retry-after"]) == ("1", "1")
    assert run.status_code == 429


def test_a_key_runs_no_more_at_once_than_the_setting_allows(keyed: ApiSettings, hand: Hand) -> None:
    with live(keyed.model_copy(update={"key_max_running": 1})) as url:
        for key in ("id:secret", "id:secret", "other:secret"):
            httpx.post(url + ENDPOINT, json=INPUT, headers={"Authorization": f"Key {key}"}, trust_env=False)
        tenants = [hand.claim().tenant for _ in range(2)]
        assert len(set(tenants)) == 2
        with pytest.raises(AssertionError, match="nothing to claim"):
            hand.claim()


def test_an_idempotency_key_makes_one_request(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, again = (client.post(ENDPOINT, json=INPUT, headers=headers).json() for _ in range(2))
    assert first["request_id"] == again["request_id"]
    other = client.post(ENDPOINT, json=INPUT | {"prompt": "q"}, headers=headers)
    assert other.status_code == 422
    stranger = client.post(ENDPOINT, json=INPUT, headers=headers | {"Authorization": "Key other:secret"})
    assert stranger.json()["request_id"] != first["request_id"]


def test_a_key_names_its_request_although_nothing_of_it_was_kept(client: httpx.Client, hand: Hand) -> None:
    """Its hour has passed: the caller hears which request it was, and that it is gone, and nothing runs again."""
    headers = {"Idempotency-Key": "k", "X-Fal-Store-IO": "0"}
    id_ = client.post(ENDPOINT, json=INPUT, headers=headers).json()["request_id"]
    hand.finish(hand.claim())
    hand.forget(id_)
    again = client.post(ENDPOINT, json=INPUT, headers=headers)
    assert (again.status_code, again.json()["request_id"], again.json()["queue_position"]) == (200, id_, 0)
    for asked in ("", "/status"):
        assert client.get(f"{REQUESTS}/{id_}{asked}").status_code == 404
    waited = client.post(f"/run{ENDPOINT}", json=INPUT, headers=headers)
    assert (waited.status_code, waited.headers["x-fal-request-id"]) == (404, id_)
    with pytest.raises(AssertionError, match="nothing to claim"):
        hand.claim()


def test_a_picture_inside_the_call_is_moved_to_the_store(client: httpx.Client, hand: Hand, tmp_path: Path) -> None:
    _submit(client, image_url=f"data:image/png;base64,{PIXEL}")
    attempt = hand.claim()
    assert attempt.image_key is not None
    assert attempt.image_key.startswith("inputs/")
    assert attempt.held.id in attempt.image_key
    assert PIXEL not in attempt.input
    stored = [path for path in tmp_path.rglob(attempt.image_key.rsplit("/", 1)[1] + "*") if path.is_file()]
    assert base64.b64decode(PIXEL) in [path.read_bytes() for path in stored]


def test_a_picture_of_a_refused_call_is_not_kept(client: httpx.Client, tmp_path: Path) -> None:
    _submit(client)
    _submit(client)
    url = f"data:image/png;base64,{PIXEL}"
    answer = client.post(ENDPOINT, json=INPUT | {"image_url": url}, params={"fal_max_queue_length": "0"})
    assert answer.status_code == 429
    content = base64.b64decode(PIXEL)
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file() and content in path.read_bytes()]


def test_a_picture_outlives_a_submit_whose_answer_was_lost(
    client: httpx.Client, hand: Hand, keyed: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script may have run all the same, and the caller's next try with its key finds the request."""
    body, once = INPUT | {"image_url": f"data:image/png;base64,{PIXEL}"}, {"Idempotency-Key": "once"}
    heard, submit = Context.run, scripts.load("submit")

    async def unheard(context: Context, command: Command[Any]) -> Any:
        reply = await heard(context, command)
        if command.script == submit:
            raise ServiceUnavailable
        return reply

    with monkeypatch.context() as deaf:
        deaf.setattr(Context, "run", unheard)
        assert client.post(ENDPOINT, json=body, headers=once).status_code == 503
    assert client.post(ENDPOINT, json=body, headers=once).status_code == 200
    key = hand.claim().image_key
    assert key is not None
    assert b"".join(open_store(keyed).read(key)) == base64.b64decode(PIXEL)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:image/png;base64,@@@@", "image_load_error"),
        ("data:image/png;base64,", "image_load_error"),
        ("data:nonsense", "image_load_error"),
        ("data:image/png;base64," + base64.b64encode(b"x" * 50_001).decode(), "file_too_large"),
        ("ftp://example.com/a.png", "file_download_error"),
        ("a.png", "file_download_error"),
        ("", "file_download_error"),
        ("http://[::1", "file_download_error"),
        ("https://example.com/" + "x" * 9000, "sequence_too_long"),
    ],
)
def test_a_picture_that_cannot_be_had_fails_the_request(client: httpx.Client, url: str, kind: str) -> None:
    result = client.get(_submit(client, image_url=url)["response_url"])
    assert result.status_code == 422
    (item,) = result.json()["detail"]
    assert (item["loc"], item["type"]) == (["body", "image_url"], kind)


def test_our_own_file_links_are_read_from_the_store(client: httpx.Client, hand: Hand) -> None:
    upload = client.post("/files/upload", content=b"bytes", headers={"Content-Type": "image/png"}).json()["access_url"]
    path = httpx.URL(upload).path
    for url in (upload, f"https://v3.fal.media{path}", f"https://pictures.example{path}"):
        _submit(client, image_url=url)
        assert hand.claim().image_key == path.removeprefix("/files/")
    _submit(client, image_url=f"https://v3.fal.media/files/uploads/{'0' * 32}/a.png")
    assert hand.claim().image_key is None


def test_a_result_that_is_too_large_is_refused_before_it_is_queued(client: httpx.Client) -> None:
    result = client.get(_submit(client, image_size={"width": 4096, "height": 4096})["response_url"])
    assert result.json()["detail"][0]["type"] == "image_too_large"


def test_cancel_in_every_state(client: httpx.Client, hand: Hand) -> None:
    queued = _submit(client)
    answer = client.put(queued["cancel_url"])
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert client.put(queued["cancel_url"]).status_code == 400
    status = client.get(queued["status_url"]).json()
    assert (status["status"], status["error_type"]) == ("COMPLETED", "client_cancelled")
    result = client.get(queued["response_url"])
    assert result.status_code == 499
    assert result.json() == {"detail": "Request was cancelled", "error_type": "client_cancelled"}
    assert result.headers["x-fal-error-type"] == "client_cancelled"

    running = _submit(client)
    attempt = hand.claim()
    assert client.put(running["cancel_url"]).status_code == 202
    assert client.get(running["status_url"]).json()["status"] == "IN_PROGRESS"
    assert client.put(running["cancel_url"]).status_code == 202
    assert hand.report(attempt, 1) is Lease.CANCEL
    hand.finish(attempt)
    assert hand.state(running["request_id"]) is State.CANCELLED
    assert client.get(running["response_url"]).status_code == 499
    assert client.put(running["cancel_url"]).json() == {"status": "ALREADY_COMPLETED"}


@pytest.mark.parametrize("id", [UNKNOWN, "x", "a.b", "%00", "0" * 5000, "ü"])
def test_nobody_has_such_a_request(client: httpx.Client, id: str) -> None:
    for method, suffix in (("GET", ""), ("GET", "/status"), ("GET", "/status/stream"), ("PUT", "/cancel")):
        answer = client.request(method, f"{REQUESTS}/{id}{suffix}")
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


def test_another_tenants_request_is_unknown(client: httpx.Client, hand: Hand) -> None:
    receipt = _submit(client)
    other = {"Authorization": "Key other:secret"}
    for method, url in (("GET", "status_url"), ("GET", "response_url"), ("PUT", "cancel_url")):
        answer = client.request(method, receipt[url], headers=other)
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})
    assert client.get(receipt["status_url"] + "/stream", headers=other).status_code == 404
    assert hand.state(receipt["request_id"]) is State.QUEUED


@pytest.mark.parametrize("header", ["", "Key wrong:secret", "Key id:wrong", "Basic aWQ6c2VjcmV0"])
def test_a_wrong_key_is_refused_everywhere(client: httpx.Client, header: str) -> None:
    for method, path in (("POST", ENDPOINT), ("POST", f"/run{ENDPOINT}"), ("GET", f"{REQUESTS}/{UNKNOWN}/status")):
        answer = client.request(method, path, json=INPUT, headers={"Authorization": header})
        assert (answer.status_code, answer.json()) == (401, {"detail": "invalid key credentials"})
        assert answer.headers["x-fal-request-id"]


def test_outcomes_keep_their_code_and_headers(client: httpx.Client, hand: Hand) -> None:
    late = _submit(client)
    body = json.dumps({"detail": "late", "error_type": "request_timeout"})
    fields: dict[str, Any] = {"state": State.FAILED, "error": "late", "error_type": "request_timeout", "status": 504}
    hand.finish(hand.claim(), body, **fields)
    answer = client.get(late["response_url"])
    assert (answer.status_code, answer.text) == (504, body)
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    assert answer.headers["x-fal-error-type"] == "request_timeout"
    assert answer.headers["x-fal-retryable"] == "false"


def test_a_large_result_is_streamed_from_the_store(client: httpx.Client, hand: Hand, keyed: ApiSettings) -> None:
    receipt = _submit(client)
    attempt = hand.claim()
    key = keys.result_body(attempt.held.id, attempt.held.claim)
    content = json.dumps({"images": [{"url": "x" * 300_000}]})
    open_store(keyed).put(key, content.encode(), content_type="application/json", expires_at=None)
    hand.finish(attempt, "", body_key=key)
    answer = client.get(receipt["response_url"])
    assert answer.text == content
    assert int(answer.headers["content-length"]) == len(content)
    open_store(keyed).delete(key)
    assert client.get(receipt["response_url"]).json() == {"status": "NOT_FOUND"}
