"""Links to files: who has one gets the file, in ranges, from a cache, and never as a page of our own."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.settings import ApiSettings
from shared.files import keys
from shared.files.base import Store
from shared.files.open import open_store
from tests.integration.api.live import live

CONTENT = bytes(range(256)) * 1000


on_s3 = pytest.mark.parametrize("storage_url", ["s3"], indirect=True)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, storage_url: str) -> ApiSettings:
    return ApiSettings(data_dir=tmp_path, redis_url=redis_url, storage_url=storage_url)


@pytest.fixture
def store(settings: ApiSettings) -> Store:
    store = open_store(settings)
    assert store.id
    return store


@pytest.fixture
def api(settings: ApiSettings, store: Store) -> Iterator[httpx.Client]:
    with live(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def _put(store: Store, content_type: str = "image/png", *, name: str = "a.png", lives_s: float | None = 60) -> str:
    key = keys.upload(name)
    expires_at = None if lives_s is None else datetime.now(UTC) + timedelta(seconds=lives_s)
    store.put(key, CONTENT, content_type=content_type, expires_at=expires_at)
    return f"/files/{key}"


def test_a_link_needs_no_key_and_says_all_about_its_file(api: httpx.Client, store: Store) -> None:
    answer = api.get(_put(store))

    assert (answer.status_code, answer.content) == (200, CONTENT)
    headers = answer.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["content-disposition"] == 'inline; filename="a.png"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["accept-ranges"] == "bytes"
    assert "immutable" in headers["cache-control"]


def test_head_says_the_same_without_the_bytes(api: httpx.Client, store: Store) -> None:
    path = _put(store)

    head, get = api.head(path), api.get(path)

    assert head.content == b""
    for name in ("content-length", "content-type", "etag", "content-disposition"):
        assert head.headers[name] == get.headers[name]


def test_parts_of_a_file(api: httpx.Client, store: Store) -> None:
    path = _put(store)
    wanted = {"bytes=0-9": CONTENT[:10], "bytes=255990-": CONTENT[-10:], "bytes=-5": CONTENT[-5:]}

    for asked, expected in wanted.items():
        answer = api.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"].endswith("/256000")
    beyond = api.get(path, headers={"Range": "bytes=256000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */256000")


@pytest.mark.parametrize(
    "asked", ["items=0-1", "bytes", "bytes=", "bytes=a-b", "bytes=5-2", "bytes=0-1,x", "bytes=" + "0-1," * 200]
)
def test_a_range_that_means_nothing_is_ignored(api: httpx.Client, store: Store, asked: str) -> None:
    answer = api.get(_put(store), headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_ranges_behind_the_end_are_left_out_or_refused_as_everything_is(api: httpx.Client, store: Store) -> None:
    path = _put(store)

    mixed = api.get(path, headers={"Range": "bytes=300000-, 0-3"})
    assert (mixed.status_code, mixed.content) == (206, CONTENT[:4])
    for beyond in ("bytes=256000-", "bytes=-0", f"bytes={'9' * 40}-"):
        refused = api.get(path, headers={"Range": beyond})
        assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */256000")
        assert isinstance(refused.json()["detail"], str)
        other = api.get(path, headers={"Range": beyond, "If-Range": '"other"'})
        assert (other.status_code, other.content) == (200, CONTENT)


def test_a_part_of_another_file_is_not_mixed_in(api: httpx.Client, store: Store) -> None:
    path = _put(store)
    etag = api.head(path).headers["etag"]

    assert api.get(path, headers={"Range": "bytes=0-0", "If-Range": etag}).status_code == 206
    assert api.get(path, headers={"Range": "bytes=0-0", "If-Range": '"other"'}).status_code == 200


def test_what_is_cached_is_not_sent_again(api: httpx.Client, store: Store) -> None:
    path = _put(store)
    etag = api.get(path).headers["etag"]

    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = api.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_cache_keeps_it_no_longer_than_we_do(api: httpx.Client, store: Store) -> None:
    def age(path: str) -> int:
        return int(api.head(path).headers["cache-control"].split("max-age=")[1].split(",")[0])

    assert 50 < age(_put(store, lives_s=60)) <= 60
    assert age(_put(store, lives_s=None)) == 31_536_000


def test_an_expired_file_is_gone_before_it_is_swept(api: httpx.Client, store: Store) -> None:
    path = _put(store, lives_s=-1)

    answer = api.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert "detail" in answer.json()


def test_what_has_no_link_is_not_found(api: httpx.Client, store: Store) -> None:
    body, picture = keys.result_body("request", "c" * 32), keys.input_picture("request")
    for key in (body, picture):
        store.put(key, b"private", content_type="application/json", expires_at=None)
    hidden = ["/files/.store-id", "/files/results/", "/files/%2e%2e/%2e%2e/etc/passwd", "/files/uploads/a/b", "/files/"]

    for path in (f"/files/{body}", f"/files/{picture}", *hidden):
        assert api.get(path).status_code == 404, path


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/xml", "application/javascript"])
def test_an_uploaded_page_never_runs_here(api: httpx.Client, store: Store, kind: str) -> None:
    headers = api.get(_put(store, kind, name="page.html")).headers

    assert headers["content-disposition"] == 'attachment; filename="page.html"'
    assert headers["content-security-policy"].startswith("sandbox;")
    assert headers["x-content-type-options"] == "nosniff"


def test_a_browser_may_ask_from_anywhere(api: httpx.Client, store: Store) -> None:
    asked = {"Origin": "https://app.test", "Access-Control-Request-Method": "PUT"}

    answer = api.options(_put(store), headers={**asked, "Access-Control-Request-Headers": "content-type"})

    assert answer.is_success
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "etag" in api.get(_put(store), headers=asked).headers["access-control-expose-headers"]


def test_a_link_works_under_every_name_of_the_server(api: httpx.Client, store: Store) -> None:
    path = _put(store)

    for host in ("v3.fal.media", "fal.run", "queue.fal.run", "rest.fal.ai", "pictures.test"):
        assert api.get(path, headers={"Host": host}).content == CONTENT, host


def test_many_read_one_file_at_once(api: httpx.Client, store: Store) -> None:
    path = _put(store)

    with ThreadPoolExecutor(8) as pool:
        answers = [pending.result().content for pending in [pool.submit(api.get, path) for _ in range(32)]]

    assert answers == [CONTENT] * 32


@on_s3
def test_a_file_in_a_bucket_is_a_short_way_away(api: httpx.Client, store: Store) -> None:
    path = _put(store)

    answer = api.get(path)

    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "*"
    found = httpx.get(answer.headers["location"], trust_env=False)
    assert (found.content, found.headers["content-type"]) == (CONTENT, "image/png")
    assert found.headers["content-disposition"] == 'inline; filename="a.png"'
    assert api.get(path, headers={"If-None-Match": api.head(path).headers["etag"]}).status_code == 304
    assert api.head(path).headers["content-length"] == str(len(CONTENT))


@on_s3
def test_a_link_to_a_bucket_ends_when_its_file_does(api: httpx.Client, store: Store) -> None:
    assert api.get(_put(store, lives_s=-1)).status_code == 404
    assert api.get("/files/" + keys.upload("never.png")).status_code == 404


def test_a_store_that_is_away_is_a_503(settings: ApiSettings, store: Store, tmp_path: Path) -> None:
    path = _put(store)
    with live(settings) as url:
        key = path.removeprefix("/files/")
        sidecar = tmp_path / "files" / key.rpartition("/")[0] / ".a.png.json"
        sidecar.write_text("{")
        began = time.monotonic()
        answer = httpx.get(url + path, trust_env=False)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert time.monotonic() - began < 10
