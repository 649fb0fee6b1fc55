"""What both stores promise, over a folder and over a real S3 server."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO

import httpx
import pytest

from shared.files import keys
from shared.files.base import AlreadyThere, Elsewhere, FileMissing, OnDisk, Part, PartsMismatch, PartsTooLarge, Store
from shared.files.open import open_store
from shared.settings import Settings

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
MIB = 1024 * 1024


def _put(store: Store, content: bytes = b"0123456789", expires_at: datetime | None = None) -> str:
    key = keys.upload("a.png")
    store.put(key, content, content_type="image/png", expires_at=expires_at)
    return key


def _read(store: Store, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(store.read(key, start=start, length=length))


def _send(store: Store, key: str, upload: str, number: int, content: bytes, *, most_bytes: int = 1024 * MIB) -> Part:
    return store.put_part(key, upload, number, BytesIO(content), most_bytes=most_bytes)


def _get(store: Store, key: str) -> bytes:
    """The bytes as somebody with the link gets them."""
    location = store.locate(key, store.stat(key))
    if isinstance(location, OnDisk):
        return location.path.read_bytes()
    return httpx.get(location.url, trust_env=False).raise_for_status().content


def test_what_is_put_is_found_again(store: Store) -> None:
    key = keys.upload("a.png")

    put = store.put(key, b"picture", content_type="image/png", expires_at=SOON)

    assert store.stat(key) == put
    assert (put.size_bytes, put.content_type, put.expires_at) == (7, "image/png", SOON)
    assert put.etag
    assert '"' not in put.etag
    assert _read(store, key) == b"picture"
    assert _get(store, key) == b"picture"


def test_a_file_may_have_no_expiry_and_no_bytes(store: Store) -> None:
    key = _put(store, b"")

    assert store.stat(key).expires_at is None
    assert store.stat(key).size_bytes == 0
    assert _read(store, key) == b""


def test_a_stream_is_read_from_where_it_stands(store: Store) -> None:
    source = BytesIO(b"headbody" * 100_000)
    source.seek(4)
    key = keys.upload("b.bin")

    stat = store.put(key, source, content_type="application/octet-stream", expires_at=None)

    assert stat.size_bytes == 799_996
    assert _read(store, key) == (b"headbody" * 100_000)[4:]


def test_parts_of_a_file_are_read(store: Store) -> None:
    key = _put(store, b"0123456789")
    wanted: list[tuple[int, int | None]] = [(0, None), (3, None), (3, 4), (8, 100), (0, 1), (10, None), (99, 5), (2, 0)]

    read = [_read(store, key, start, length) for start, length in wanted]

    assert read == [b"0123456789", b"3456789", b"3456", b"89", b"0", b"", b"", b""]


def test_a_missing_file_is_missing_everywhere(store: Store) -> None:
    key = keys.upload("never.png")

    with pytest.raises(FileMissing):
        store.stat(key)
    with pytest.raises(FileMissing):
        store.read(key)
    with pytest.raises(FileMissing):
        store.read(key, length=0)
    with pytest.raises(FileMissing):
        _send(store, key, "0" * 32, 1, b"x")
    store.delete(key)


def test_a_deleted_file_is_gone_and_its_neighbours_are_not(store: Store) -> None:
    first, second = "results/r/c/0.png", "results/r/c/1.png"
    for key in (first, second):
        store.put(key, key.encode(), content_type="image/png", expires_at=None)

    store.delete(first)
    store.delete(first)

    with pytest.raises(FileMissing):
        store.stat(first)
    assert _read(store, second) == second.encode()


def test_what_is_no_key_names_nothing(store: Store) -> None:
    for key in ("../outside", "/etc/passwd", "a/../../b", ".store-id", "a/.0.png.json", "", "a\x00b"):
        with pytest.raises(FileMissing):
            store.stat(key)
        with pytest.raises(FileMissing):
            store.read(key)
        with pytest.raises(FileMissing):
            store.put(key, b"x", content_type="text/plain", expires_at=None)
        store.delete(key)
    assert open_store(Settings()).id == store.id


def test_the_same_file_may_be_put_twice(store: Store) -> None:
    key = _put(store, b"same")

    store.put(key, b"same", content_type="image/png", expires_at=SOON)

    assert store.stat(key).expires_at == SOON


def test_a_reader_sees_all_or_nothing(store: Store) -> None:
    key = keys.upload("large.bin")
    content = os.urandom(3 * MIB)
    written = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not written.is_set():
            try:
                seen.append(len(_read(store, key)))
            except FileMissing:
                continue

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            store.put(key, content, content_type="application/octet-stream", expires_at=None)
        finally:
            written.set()
        watching.result(30)

    assert set(seen) <= {len(content)}
    assert _read(store, key) == content


def test_files_come_and_go_in_one_folder_at_once(store: Store) -> None:
    def come_and_go(number: int) -> bytes:
        key = f"results/shared/folder/{number}.png"
        store.put(key, str(number).encode(), content_type="image/png", expires_at=None)
        content = _read(store, key)
        store.delete(key)
        return content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(come_and_go, range(40))) == [str(number).encode() for number in range(40)]


def test_a_file_that_is_there_stays_where_only_a_new_one_is_wanted(store: Store) -> None:
    key = keys.upload("a.png")
    first = store.put(key, b"first", content_type="image/png", expires_at=SOON, only_new=True)

    with pytest.raises(AlreadyThere):
        store.put(key, b"second", content_type="text/html", expires_at=None, only_new=True)

    assert store.stat(key) == first
    assert _read(store, key) == b"first"


def test_parts_arrive_in_any_order_and_again(store: Store) -> None:
    key = keys.upload("movie.mp4")
    first, second, third = os.urandom(5 * MIB), os.urandom(5 * MIB), b"the end"
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=SOON)

    end = _send(store, key, upload, 3, third)
    _send(store, key, upload, 1, b"a first try that broke off")
    begin = _send(store, key, upload, 1, first)
    middle = _send(store, key, upload, 2, second)
    with pytest.raises(FileMissing):
        store.stat(key)
    stat = store.complete_multipart(key, upload, [end, begin, middle])

    assert (stat.size_bytes, stat.content_type, stat.expires_at) == (10 * MIB + 7, "video/mp4", SOON)
    assert _read(store, key) == first + second + third
    assert _read(store, key, 5 * MIB - 2, 4) == first[-2:] + second[:2]
    assert _get(store, key) == first + second + third


def test_completing_again_answers_the_same(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    part = _send(store, key, upload, 1, b"all of it")

    assert store.complete_multipart(key, upload, [part]) == store.complete_multipart(key, upload, [part])


def test_only_uploaded_parts_can_be_joined(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    part = _send(store, key, upload, 1, b"real")

    for parts in ([], [part, part], [Part(2, part.etag)], [Part(1, "0" * 32)], [Part(1, "../../about.json")]):
        with pytest.raises(PartsMismatch):
            store.complete_multipart(key, upload, parts)
    assert store.complete_multipart(key, upload, [part]).size_bytes == 4


def test_a_part_that_is_sent_again_takes_the_place_of_the_one_before(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    before = _send(store, key, upload, 1, b"before")
    other = _send(store, key, upload, 11, b"another number")
    after = _send(store, key, upload, 1, b"after")

    with pytest.raises(PartsMismatch):
        store.complete_multipart(key, upload, [before])
    assert before != after
    assert store.complete_multipart(key, upload, [other]).size_bytes == 14


def test_what_is_sent_again_is_what_is_joined(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    parts = [_send(store, key, upload, 1, content) for content in (b"first", b"second", b"second")]

    store.complete_multipart(key, upload, parts[-1:])

    assert _read(store, key) == b"second"


def test_parts_have_at_most_so_many_bytes_together(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    first = _send(store, key, upload, 1, b"123456", most_bytes=10)
    _send(store, key, upload, 2, b"1234", most_bytes=10)

    for number, content in ((3, b"1"), (1, b"1234567"), (2, b"12345"), (4, b"12345678901")):
        with pytest.raises(PartsTooLarge):
            _send(store, key, upload, number, content, most_bytes=10)
    _send(store, key, upload, 2, b"123", most_bytes=10)
    _send(store, key, upload, 3, b"1", most_bytes=10)
    with pytest.raises(PartsTooLarge):
        _send(store, key, upload, 3, b"12", most_bytes=10)

    assert store.complete_multipart(key, upload, [first]).size_bytes == 6, "what is refused replaces nothing"


def test_an_upload_belongs_to_one_key(store: Store) -> None:
    key, other = keys.upload("mine.bin"), keys.upload("theirs.bin")
    upload = store.begin_multipart(key, content_type="text/plain", expires_at=None)
    part = _send(store, key, upload, 1, b"mine")

    with pytest.raises(FileMissing):
        _send(store, other, upload, 1, b"theirs")
    with pytest.raises(FileMissing):
        store.complete_multipart(other, upload, [part])
    with pytest.raises(FileMissing):
        _send(store, key, "../" + upload, 1, b"x")


def test_unfinished_uploads_are_dropped_when_they_are_old(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    part = _send(store, key, upload, 1, b"all of it")

    assert store.drop_unfinished(before=datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.drop_unfinished(before=datetime.now(UTC) + timedelta(hours=1)) == 1

    with pytest.raises(FileMissing):
        store.complete_multipart(key, upload, [part])


def test_parts_that_come_do_not_make_an_upload_younger(store: Store) -> None:
    key = keys.upload("movie.mp4")
    upload = store.begin_multipart(key, content_type="video/mp4", expires_at=None)
    time.sleep(1.5)  # a server may tell whole seconds only
    later = datetime.now(UTC)
    time.sleep(0.1)  # and a disk's clock goes in small steps
    _send(store, key, upload, 1, b"still coming")

    assert store.drop_unfinished(before=later) == 1


def test_two_openings_of_one_place_see_one_id(store: Store) -> None:
    other = open_store(Settings())
    key = _put(store)

    assert other.id == store.id
    assert other.read(key)
    store.check()


def test_a_page_is_never_shown_by_its_own_link(store: Store) -> None:
    key = keys.upload("page.html")
    store.put(key, b"<script>", content_type="text/html", expires_at=None)

    location = store.locate(key, store.stat(key))

    if isinstance(location, Elsewhere):
        answer = httpx.get(location.url, trust_env=False)
        assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'
