"""What only an S3 store does: signed links, its bucket, its credentials, and a server that is away."""

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import httpx
import pytest

from shared.errors import WrongSetting
from shared.files import keys
from shared.files.base import Elsewhere, PartsTooLarge, Store, StoreUnavailable
from shared.files.bucket import Bucket
from shared.files.open import open_store
from shared.files.s3 import S3Store
from shared.settings import Settings


@pytest.fixture
def store(s3_bucket: str) -> S3Store:
    store = S3Store(Bucket(s3_bucket))
    assert store.id
    return store


def _link(store: Store, expires_at: datetime | None = None) -> str:
    key = keys.upload("a.png")
    stat = store.put(key, b"picture", content_type="image/png", expires_at=expires_at)
    location = store.locate(key, stat)
    assert isinstance(location, Elsewhere)
    return location.url


def _status(url: str) -> int:
    return httpx.get(url, trust_env=False).status_code


def test_a_link_works_for_everybody_and_cannot_be_altered(store: S3Store) -> None:
    url = _link(store)

    assert _status(url) == 200
    assert _status(url.split("?")[0]) in {400, 401, 403}
    assert _status(url.replace("a.png", "b.png")) == 403
    assert _status(re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=604800", url)) == 403


def test_a_link_serves_ranges(store: S3Store) -> None:
    answer = httpx.get(_link(store), headers={"Range": "bytes=1-3"}, trust_env=False)

    assert (answer.status_code, answer.content) == (206, b"ict")


def test_a_link_does_not_outlive_its_file(store: S3Store) -> None:
    url = _link(store, datetime.now(UTC) + timedelta(seconds=90))

    assert int(httpx.URL(url).params["X-Amz-Expires"]) <= 90


def test_links_are_signed_for_the_name_that_clients_see(store: S3Store, s3_bucket: str, s3_server: object) -> None:
    internal = httpx.URL(_link(store))
    public = S3Store(Bucket(s3_bucket), Bucket(s3_bucket, f"http://localhost:{internal.port}"))

    url = httpx.URL(_link(public))

    assert url.host == "localhost"
    assert _status(str(url)) == 200
    assert _status(str(url.copy_with(host="127.0.0.1"))) == 403


def test_a_cdn_takes_the_place_of_signed_links(s3_bucket: str) -> None:
    store = S3Store(Bucket(s3_bucket), cdn="https://cdn.test/pictures/")
    assert store.id

    assert re.fullmatch(r"https://cdn\.test/pictures/uploads/[0-9a-f]{32}/a\.png", _link(store))


def test_the_bucket_is_private(store: S3Store, s3_bucket: str, s3_env: dict[str, str]) -> None:
    assert _status(f"{s3_env['AWS_ENDPOINT_URL_S3']}/{s3_bucket}/.store-id") in {400, 401, 403}


def test_many_starters_agree_on_one_bucket_and_id(s3_bucket: str) -> None:
    ids = {S3Store(Bucket(s3_bucket)).id for _ in range(3)}

    assert len(ids) == 1


def test_wrong_credentials_are_an_unavailable_store(
    store: S3Store, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    stranger = S3Store(Bucket(s3_bucket))

    with pytest.raises(StoreUnavailable):
        stranger.check()
    with pytest.raises(StoreUnavailable):
        stranger.put("a/b", b"x", content_type="text/plain", expires_at=None)


def test_a_lost_bucket_is_an_unavailable_store(s3_bucket: str) -> None:
    store = S3Store(Bucket(s3_bucket))

    with pytest.raises(StoreUnavailable):
        store.check()
    with pytest.raises(StoreUnavailable):
        store.put("a/b", b"x", content_type="text/plain", expires_at=None)


def test_a_server_that_is_away_is_an_unavailable_store(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        store = S3Store(Bucket(s3_bucket))

        with pytest.raises(StoreUnavailable):
            _ = store.id
        with pytest.raises(StoreUnavailable):
            store.stat("a/b")


@pytest.mark.parametrize("url", ["s3://", "s3://Bucket", "s3://b/prefix", "file://host/path", "/tmp/x", "gs://b"])
def test_an_address_of_no_store_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_URL", url)

    with pytest.raises(WrongSetting, match="STORAGE_URL"):
        open_store(Settings())


class ShortPages(Bucket):
    """Two a page, where S3's own pages have a thousand."""

    def pages(self, operation: str, **arguments: object) -> Iterator[dict[str, Any]]:
        limit = {"list_parts": "MaxParts", "list_multipart_uploads": "MaxUploads"}[operation]
        return super().pages(operation, **arguments, **{limit: 2})


def test_all_parts_and_all_uploads_count_however_many_they_are(store: S3Store, s3_bucket: str) -> None:
    short = S3Store(ShortPages(s3_bucket))
    key = keys.upload("a.bin")
    uploads = [short.begin_multipart(key, content_type="a/b", expires_at=None) for _ in range(5)]
    for number in range(1, 6):
        short.put_part(key, uploads[0], number, BytesIO(b"xx"), most_bytes=10)

    with pytest.raises(PartsTooLarge):
        short.put_part(key, uploads[0], 6, BytesIO(b"x"), most_bytes=10)
    short.put_part(key, uploads[0], 5, BytesIO(b"yy"), most_bytes=10)

    assert short.drop_unfinished(before=datetime.now(UTC) + timedelta(hours=1)) == 5
    assert store.drop_unfinished(before=datetime.now(UTC) + timedelta(hours=1)) == 0
