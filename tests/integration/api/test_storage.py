"""Every way in which fal's clients upload a file, over both stores: on the wire, and with the Python client itself."""

import base64
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from api import keys as key_tool
from api import uploads
from api.settings import ApiKey, ApiSettings
from shared.files import durable
from shared.files.open import open_store
from shared.queue import commands, keys
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from worker.sweeps import Sweep

MIB = 1024 * 1024
KEY = {"Authorization": "Key id:secret"}
OTHER = {"Authorization": "Key other:secret"}


on_both_stores = pytest.mark.parametrize("storage_url", ["file", "s3"], indirect=True)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, storage_url: str) -> ApiSettings:
    return ApiSettings(
        data_dir=tmp_path,
        redis_url=redis_url,
        storage_url=storage_url,
        api_keys=(ApiKey("id", "secret"), ApiKey("other", "secret")),
        max_upload_bytes=24 * MIB,
    )


def _token(api: httpx.Client) -> dict[str, str]:
    answer = api.post("/storage/auth/token?storage_type=fal-cdn-v3", headers=KEY, json={}).raise_for_status()
    return answer.json()


def _bearer(api: httpx.Client) -> dict[str, str]:
    token = _token(api)
    return {"Authorization": f"{token['token_type']} {token['token']}"}


def _initiate(api: httpx.Client, path: str = "initiate", **headers: str) -> tuple[str, str]:
    body = {"content_type": "image/png", "file_name": "cat.png"}
    answer = api.post(f"/storage/upload/{path}?storage_type=fal-cdn-v3", headers={**KEY, **headers}, json=body)
    addresses: dict[str, str] = answer.raise_for_status().json()
    return addresses["upload_url"], addresses["file_url"]


def _get(url: str) -> httpx.Response:
    """As anybody with the link."""
    return httpx.get(url, trust_env=False, follow_redirects=True)


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _max_age(headers: httpx.Headers) -> int:
    return int(headers["cache-control"].split("max-age=")[1].split(",")[0])


def test_the_token_is_what_the_client_reads(api: httpx.Client) -> None:
    token = _token(api)

    expires_at = datetime.fromisoformat(token["expires_at"])
    assert expires_at.utcoffset() == timedelta(0)
    assert not token["expires_at"].endswith("Z")
    assert 3000 < expires_at.timestamp() - time.time() <= 3600
    assert token["base_url"] == str(api.base_url).rstrip("/")


@on_both_stores
def test_a_whole_file_by_token(api: httpx.Client) -> None:
    headers = {**_bearer(api), "Content-Type": "image/png", "X-Fal-File-Name": "my cat.png"}

    url = api.post("/files/upload", headers=headers, content=b"picture").raise_for_status().json()["access_url"]

    answer = _get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"picture", "image/png")
    assert url.startswith(f"{api.base_url}/files/uploads/")
    assert url.endswith("/my-cat.png")


def test_a_whole_file_by_key_and_without_a_name(api: httpx.Client) -> None:
    url = api.post("/files/upload", headers=KEY, content=b"").raise_for_status().json()["access_url"]

    assert _get(url).content == b""
    assert url.endswith("/file")


def test_nobody_uploads_without_a_key(api: httpx.Client) -> None:
    strangers = [None, "Bearer id:wrong", "Key kolors-upload.e30.x", "id:secret"]
    paths = ["/storage/auth/token", "/storage/upload/initiate", "/files/upload", "/files/upload/multipart"]
    for path, authorization in itertools.product(paths, strangers):
        headers = {"Authorization": authorization} if authorization else {}

        answer = api.post(path, headers=headers, content=b"{}")

        assert (answer.status_code, answer.json()) == (401, {"detail": "invalid key credentials"})


@on_both_stores
def test_one_put_to_an_initiated_address(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api)
    assert _get(file_url).status_code == 404

    answer = httpx.put(upload_url, content=b"picture", headers={"Content-Type": "image/png"}, trust_env=False)

    assert answer.status_code == 200
    assert answer.json()["access_url"] == file_url
    assert _get(file_url).content == b"picture"


def test_an_initiated_address_takes_the_key_too_and_takes_it_again(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api)

    for _ in range(2):
        assert httpx.put(upload_url, content=b"picture", headers=KEY, trust_env=False).status_code == 200
    assert _get(file_url).content == b"picture"


@on_both_stores
def test_an_initiated_address_never_changes_what_it_led_to(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api, **{"x-fal-object-lifecycle": '{"expiration_duration_seconds": 600}'})
    httpx.put(upload_url, content=b"picture", trust_env=False).raise_for_status()
    before = api.head(file_url).headers

    for other in (b"another", b"pictur", b"picture!", b""):
        answer = httpx.put(upload_url, content=other, headers={"Content-Type": "text/html"}, trust_env=False)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    httpx.put(upload_url, content=b"picture", trust_env=False).raise_for_status()

    after = api.head(file_url).headers
    assert _get(file_url).content == b"picture"
    assert [after[name] for name in ("etag", "content-type")] == [before[name] for name in ("etag", "content-type")]
    assert _max_age(after) <= _max_age(before)


SHORT = {"X-Fal-Object-Lifecycle": json.dumps({"expiration_duration_seconds": 1})}


@on_both_stores
def test_an_address_that_led_to_a_file_leads_to_no_other_when_that_is_gone(
    api: httpx.Client, settings: ApiSettings
) -> None:
    upload_url, file_url = _initiate(api, **SHORT)
    parts_url, parts_file_url = _initiate(api, "initiate-multipart", **SHORT)
    path, _, query = parts_url.partition("?")
    store = open_store(settings)

    def complete(content: bytes) -> int:
        part = httpx.put(f"{path}/1?{query}", content=content, trust_env=False)
        parts = [part.json()] if part.status_code == 200 else []
        return httpx.post(f"{path}/complete?{query}", json={"parts": parts}, trust_env=False).status_code

    assert httpx.put(upload_url, content=b"picture", trust_env=False).status_code == 200
    assert complete(b"picture") == 200
    assert _get(parts_file_url).content == b"picture"
    _until(lambda: _get(file_url).status_code == 404)
    with closing(open_sync(settings.redis_url)) as redis:
        Sweep(redis, store).round()
        deleted_ms = redis.execute_command("ZSCORE", keys.FILES, file_url.partition("/files/")[2])
    store.delete(parts_file_url.partition("/files/")[2])  # as its sweep would, an hour later

    assert httpx.put(upload_url, content=b"another", trust_env=False).status_code == 400
    assert complete(b"another") in {400, 404}
    assert [_get(url).status_code for url in (file_url, parts_file_url)] == [404, 404]
    assert 300 < float(str(deleted_ms)) / 1000 - time.time() < 1200, "its address is soon closed, and then it goes"


@pytest.mark.parametrize(("kept_s", "status"), [(1, 401), (7000, 401), (8000, 200)])
def test_what_took_so_long_that_a_file_before_it_may_be_gone_is_refused(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, kept_s: int, status: int
) -> None:
    lifecycle = json.dumps({"expiration_duration_seconds": kept_s})
    upload_url, _ = _initiate(api, **{"X-Fal-Object-Lifecycle": lifecycle})
    now = time.time()
    monkeypatch.setattr(uploads, "time", SimpleNamespace(time=lambda: now + 7500))  # when the body is there

    assert httpx.put(upload_url, content=b"x", trust_env=False).status_code == status


def test_of_two_files_for_one_address_one_wins(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api)
    contents = [bytes([number]) * 100_000 for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(httpx.put, upload_url, content=content, trust_env=False) for content in contents]
    answers = [call.result() for call in calls]

    won = [content for content, answer in zip(contents, answers, strict=True) if answer.status_code == 200]
    assert [_get(file_url).content] == won
    assert {answer.status_code for answer in answers} == {200, 400}


def test_an_address_is_for_one_method_and_only_for_a_time(
    api: httpx.Client, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_url, file_url = _initiate(api)
    path, _, query = upload_url.partition("?grant=")
    payload, _, signature = query.rpartition(".")

    for method in ("GET", "POST", "DELETE", "HEAD"):
        assert httpx.request(method, upload_url, trust_env=False).status_code in {401, 404, 405}
    fields = json.loads(base64.urlsafe_b64decode(payload.removeprefix("kolors-upload.") + "=="))
    for change in ({"until_s": fields["until_s"] + 9}, {"key": "uploads/x"}, {"purpose": "session"}, {"lifetime_s": 9}):
        forged = base64.urlsafe_b64encode(json.dumps(fields | change).encode()).decode().rstrip("=")
        for grant in (f"kolors-upload.{forged}.{signature}", f"kolors-upload.{forged}."):
            assert httpx.put(f"{path}?grant={grant}", content=b"x", trust_env=False).status_code == 401
    now = time.time()
    monkeypatch.setattr("api.grants.time.time", lambda: now + 3600 + 301)
    assert httpx.put(upload_url, content=b"x", trust_env=False).status_code == 401
    assert _get(file_url).status_code == 404


def test_an_address_cannot_be_bent(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api)
    parts_url, _ = _initiate(api, "initiate-multipart")
    path, _, grant = upload_url.partition("?")
    parts_path, _, parts_grant = parts_url.partition("?")

    for url in (
        path,
        f"{path}?grant=",
        f"{path}?{grant}x",
        f"{path}x?{grant}",
        f"{path}/1?{grant}",
        f"{parts_path}?{grant}",
        f"{parts_path}?{parts_grant}",
        f"{path}/1?{parts_grant}",
        f"{parts_path}/one?{parts_grant}",
        f"{parts_path}/1/2?{parts_grant}",
    ):
        assert httpx.put(url, content=b"x", trust_env=False).status_code == 401, url
    assert httpx.post(f"{path}/complete?{grant}", json={"parts": []}, trust_env=False).status_code == 401
    assert httpx.post(f"{parts_path}/finish?{parts_grant}", json={"parts": []}, trust_env=False).status_code == 401
    assert _get(file_url).status_code == 404


@on_both_stores
def test_parts_as_the_javascript_client_sends_them(api: httpx.Client) -> None:
    upload_url, file_url = _initiate(api, "initiate-multipart")
    path, _, query = upload_url.partition("?")
    content = os.urandom(12 * MIB)

    parts: list[dict[str, object]] = []
    for number, start in enumerate(range(0, len(content), 5 * MIB), start=1):
        chunk = content[start : start + 5 * MIB]
        answer = httpx.put(f"{path}/{number}?{query}", content=chunk, trust_env=False, timeout=60)
        assert answer.headers["content-type"] == "application/json"
        parts.append(answer.raise_for_status().json())
    done = httpx.post(f"{path}/complete?{query}", json={"parts": parts}, trust_env=False, timeout=60)

    assert done.status_code == 200
    assert [part["partNumber"] for part in parts] == [1, 2, 3]
    assert _get(file_url).content == content


@on_both_stores
def test_parts_as_the_python_client_sends_them(api: httpx.Client) -> None:
    headers = _bearer(api)
    begun = api.post("/files/upload/multipart", headers={**headers, "X-Fal-File-Name": "m.bin"}).json()
    content = os.urandom(11 * MIB)
    chunks = [content[start : start + 5 * MIB] for start in range(0, len(content), 5 * MIB)]

    def send(number: int) -> dict[str, object]:
        url = f"{begun['access_url']}/multipart/{begun['uploadId']}/{number}"
        answer = httpx.put(url, headers=headers, content=chunks[number - 1], trust_env=False, timeout=60)
        return {"partNumber": number, "etag": answer.raise_for_status().headers["etag"]}

    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(send, [3, 1, 2]))
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}/complete"
    for _ in range(2):  # the client repeats it when the answer was lost
        assert httpx.post(url, headers=headers, json={"parts": parts}, trust_env=False, timeout=60).status_code == 200

    assert _get(begun["access_url"]).content == content


@on_both_stores
def test_parts_belong_to_who_began(api: httpx.Client) -> None:
    begun = api.post("/files/upload/multipart", headers=KEY).json()
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}"

    assert httpx.put(f"{url}/1", headers=OTHER, content=b"x", trust_env=False).status_code == 401
    assert httpx.put(f"{url}/1", content=b"x", trust_env=False).status_code == 401
    assert httpx.post(f"{url}/complete", headers=OTHER, json={"parts": []}, trust_env=False).status_code == 401
    assert httpx.put(f"{url}/1", headers=KEY, content=b"x", trust_env=False).status_code == 200


def test_a_permission_ends_with_the_key_that_it_was_given_to(api: httpx.Client, settings: ApiSettings) -> None:
    token, upload_url, parts_url = _bearer(api), _initiate(api)[0], _initiate(api, "initiate-multipart")[0]
    begun = api.post("/files/upload/multipart", headers=token).raise_for_status().json()
    part_url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    path, _, query = parts_url.partition("?")
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("POST", "/files/upload", token),
        ("POST", "/files/upload/multipart", token),
        ("PUT", f"{part_url}/1", token),
        ("POST", f"{part_url}/complete", token),
        ("PUT", upload_url, {}),
        ("PUT", f"{path}/1?{query}", {}),
        ("POST", f"{path}/complete?{query}", {}),
    ]

    def statuses() -> set[int]:
        return {api.request(*call[:2], headers=call[2], content=b"picture").status_code for call in calls}

    assert statuses() == {200, 400}, "a body that names no parts is a bad request"
    link = api.post("/files/upload", headers=token, content=b"before").json()["access_url"]
    with closing(open_sync(settings.redis_url)) as redis:
        key_tool.rotate(redis, key_tool.add(redis, "id").partition(":")[0], overlap_s=0)
        _until(lambda: api.post("/storage/auth/token", headers=KEY, json={}).status_code == 401)
        assert statuses() == {200, 400}, "it is the same key with another secret"
        key_tool.revoke(redis, "id")
        _until(lambda: statuses() == {401})
    assert api.put(upload_url, content=b"").json() == {"detail": "invalid key credentials"}
    assert _get(link).content == b"before", "what is there stays"
    other = api.post("/storage/upload/initiate", headers=OTHER, json={}).raise_for_status().json()
    assert api.put(other["upload_url"], content=b"x").status_code == 200


@pytest.mark.parametrize("step", ["part", "complete"])
def test_steps_of_an_upload_that_wait_for_each_other_keep_no_other_call_waiting(
    api: httpx.Client, settings: ApiSettings, step: str
) -> None:
    """As while a large file is joined."""
    link = api.post("/files/upload", headers=OTHER, content=b"x").raise_for_status().json()["access_url"]
    path, _, query = _initiate(api, "initiate-multipart")[0].partition("?")
    (folder,) = (settings.data_dir / "files" / ".parts").iterdir()
    other = api.post("/files/upload/multipart", headers=OTHER).raise_for_status().json()
    part = api.put(f"{path}/1?{query}", content=b"part").raise_for_status().json()

    def send(_: int) -> int:
        if step == "part":
            return api.put(f"{path}/1?{query}", content=b"again").status_code
        return api.post(f"{path}/complete?{query}", json={"parts": [part]}).status_code

    with ThreadPoolExecutor(60) as pool:
        with durable.alone(folder):
            sent = [pool.submit(send, number) for number in range(60)]
            time.sleep(1)  # they have come, and wait
            assert _get(link).content == b"x"
            theirs = f"{other['access_url']}/multipart/{other['uploadId']}/1"
            assert httpx.put(theirs, headers=OTHER, content=b"part", trust_env=False).status_code == 200
            assert not any(call.done() for call in sent)
        assert {call.result() for call in sent} == {200}


@on_both_stores
def test_parts_that_are_not_there_are_a_bad_request(api: httpx.Client) -> None:
    begun = api.post("/files/upload/multipart", headers=KEY).json()
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    httpx.put(f"{url}/1", headers=KEY, content=b"x", trust_env=False).raise_for_status()

    for body in (
        "",
        "[]",
        "{}",
        '{"parts": 1}',
        '{"parts": []}',
        '{"parts": [1]}',
        '{"parts": [{"partNumber": "1", "etag": "x"}]}',
        '{"parts": [{"partNumber": true, "etag": "x"}]}',
        '{"parts": [{"partNumber": 7, "etag": "00"}]}',
        f'{{"parts": [{{"partNumber": {"9" * 300}, "etag": "{"0" * 64}"}}]}}',
    ):
        assert httpx.post(f"{url}/complete", headers=KEY, content=body, trust_env=False).status_code == 400, body
    for number in (0, 7, 10001, "9" * 5000, "one", "٣"):
        assert httpx.put(f"{url}/{number}", headers=KEY, content=b"x", trust_env=False).status_code == 400


def test_too_much_is_too_large(api: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * MIB

    answer = api.post("/files/upload", headers=KEY, content=endless())
    assert (answer.status_code, "24" in answer.text or "25165824" in answer.text) == (413, True)
    announced = api.post("/files/upload", headers={**KEY, "Content-Length": str(25 * MIB)}, content=b"x" * 25 * MIB)
    assert announced.status_code == 413


@on_both_stores
def test_a_lifetime_is_kept(api: httpx.Client) -> None:
    for name in ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"):
        upload_url, file_url = _initiate(api, **{name: json.dumps({"expiration_duration_seconds": 120})})
        httpx.put(upload_url, content=b"x", trust_env=False).raise_for_status()

        assert 100 < _max_age(api.head(file_url).headers) <= 120


def test_every_upload_is_expected_by_the_sweep(api: httpx.Client, settings: ApiSettings) -> None:
    header = {"X-Fal-Object-Lifecycle": json.dumps({"expiration_duration_seconds": 1})}
    url = api.post("/files/upload", headers={**KEY, **header}, content=b"x").json()["access_url"]
    redis = open_sync(settings.redis_url)
    deadline = time.monotonic() + 10

    while not (due := run_sync(redis, commands.due_files(10))):
        assert time.monotonic() < deadline, "the sweep was never told of the file"
    redis.close()

    assert [f"{api.base_url}/files/{key}" for key in due] == [url]
    assert _get(url).status_code == 404


def test_a_broken_lifetime_is_a_bad_request(api: httpx.Client) -> None:
    answer = api.post("/files/upload", headers={**KEY, "X-Fal-Object-Lifecycle": "soon"}, content=b"x")

    assert answer.status_code == 400


def test_a_broken_call_is_a_bad_request(api: httpx.Client) -> None:
    for body in ("", "[]", "null", '{"file_name": 1}', '{"content_type": []}', "[" * 5000):
        assert api.post("/storage/upload/initiate", headers=KEY, content=body).status_code == 400, body


def test_a_name_may_say_anything(api: httpx.Client) -> None:
    body = {"file_name": "../../etc/\u732b\r\nX: y.html", "content_type": "text/html\r\nX: y"}
    addresses = api.post("/storage/upload/initiate", headers=KEY, json=body).raise_for_status().json()
    httpx.put(addresses["upload_url"], content=b"<script>", trust_env=False).raise_for_status()

    answer = _get(addresses["file_url"])
    assert addresses["file_url"].endswith("/X-y.html")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_links_start_with_what_was_called(api: httpx.Client) -> None:
    called = {**KEY, "Host": "rest.fal.ai"}
    token = api.post("/storage/auth/token", headers=called, json={}).json()
    proxied = {**KEY, "x-fal-target-url": "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"}
    addresses = api.post(
        "/api/fal/proxy", headers=proxied, json={"file_name": "a.png", "content_type": "image/png"}
    ).json()

    assert token["base_url"] == "http://rest.fal.ai"
    assert addresses["file_url"].startswith(f"{api.base_url}/files/")
    assert httpx.put(addresses["upload_url"], content=b"x", trust_env=False).status_code == 200


PROGRAM = """
import json, sys
import fal_client.client as fal
fal.REST_URL = fal.CDN_URL = sys.argv[1]
client, path = fal.SyncClient(key="id:secret"), sys.argv[2]
urls = [
    client.upload(b"picture", "image/png"),
    client.upload(b"picture", "image/png", "cat.png"),
    client.upload(b"picture", "image/png", "cat.png", repository="fal"),
]
fal.MULTIPART_THRESHOLD, fal.MULTIPART_CHUNK_SIZE = 6 << 20, 5 << 20
print(json.dumps([*urls, client.upload_file(path)]))
"""


@on_both_stores
def test_the_python_client_uploads_in_every_way(api: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(os.urandom(17 * MIB))
    command = [sys.executable, "-c", PROGRAM, str(api.base_url).rstrip("/"), str(file)]

    urls = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout)

    assert [_get(url).content for url in urls] == [b"picture"] * 3 + [file.read_bytes()]
    assert _get(urls[3]).headers["content-type"] == "video/mp4"
