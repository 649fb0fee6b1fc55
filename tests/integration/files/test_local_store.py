"""What only a folder can do wrong: links, full disks, crashes half-way."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.files import keys
from shared.files.base import AlreadyThere, FileMissing, Stat, StoreUnavailable
from shared.files.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "files")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_result_lies_where_its_key_says(store: LocalStore, tmp_path: Path) -> None:
    key = keys.result("request", "claim", 0, "png")

    store.put(key, b"picture", content_type="image/png", expires_at=None)

    assert (tmp_path / "files" / key).read_bytes() == b"picture"


def test_nothing_is_left_of_a_deleted_file(store: LocalStore, tmp_path: Path) -> None:
    store.put("results/r/c/0.png", b"picture", content_type="image/png", expires_at=None)

    store.delete("results/r/c/0.png")

    assert _files(tmp_path / "files") == [".store-id"]
    assert not (tmp_path / "files" / "results").exists()


def test_links_lead_nowhere(store: LocalStore, tmp_path: Path) -> None:
    root = tmp_path / "files"
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (tmp_path / "secret" / ".key.json").write_text('{"content_type":"a/b","etag":"e","expires_at":null}')
    (root / "uploads").symlink_to(tmp_path / "secret")
    (root / "link").symlink_to(tmp_path / "secret" / "key")

    for key in ("uploads/key", "link"):
        with pytest.raises(FileMissing):
            store.stat(key)
        with pytest.raises(FileMissing):
            store.read(key)
        store.delete(key)
    with pytest.raises(FileMissing):
        store.put("uploads/mine", b"x", content_type="text/plain", expires_at=None)
    assert _files(tmp_path / "secret") == [".key.json", "key"]


def test_a_folder_is_no_file(store: LocalStore) -> None:
    store.put("a/b", b"x", content_type="text/plain", expires_at=None)

    with pytest.raises(FileMissing):
        store.stat("a")
    with pytest.raises(FileMissing):
        store.stat("a/b/c")


def test_a_write_that_fails_half_way_leaves_nothing(store: LocalStore, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StoreUnavailable):
            store.put("a/b", b"x" * 2_000_000, content_type="text/plain", expires_at=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert _files(tmp_path / "files") == [".store-id"]


def test_content_without_its_description_is_not_there_yet(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "files" / "a").mkdir()
    (tmp_path / "files" / "a" / "b").write_bytes(b"x")

    with pytest.raises(FileMissing):
        store.stat("a/b")


def test_an_unreadable_description_is_a_fault_of_the_store(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/b", b"x", content_type="text/plain", expires_at=None)
    (tmp_path / "files" / "a" / ".b.json").write_text("{")

    with pytest.raises(StoreUnavailable):
        store.stat("a/b")


def test_the_id_stays_with_the_folder(tmp_path: Path) -> None:
    first, other = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "two")

    assert LocalStore(tmp_path / "one").id == first.id != other.id


def test_leftovers_of_a_crash_are_swept_when_old(store: LocalStore, tmp_path: Path) -> None:
    leftover = tmp_path / "files" / ".incoming" / "half"
    leftover.write_bytes(b"half a picture")
    os.utime(leftover, (0, 0))

    store.drop_unfinished(before=datetime.now(UTC) - timedelta(days=1))

    assert not leftover.exists()


def test_a_store_whose_folder_is_gone_says_so(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "files").rename(tmp_path / "moved")

    with pytest.raises(StoreUnavailable):
        store.check()
    with pytest.raises(StoreUnavailable):
        store.put("a/b", b"x", content_type="text/plain", expires_at=None)


def test_of_several_new_files_under_one_key_one_stays(store: LocalStore, tmp_path: Path) -> None:
    key = keys.upload("a.bin")

    def put(number: int) -> Stat | None:
        with suppress(AlreadyThere):
            return store.put(key, bytes([number]) * 50_000, content_type="a/b", expires_at=None, only_new=True)
        return None

    with ThreadPoolExecutor(8) as pool:
        won = [stat for stat in pool.map(put, range(8)) if stat is not None]

    assert won == [store.stat(key)]
    assert len(set((tmp_path / "files" / key).read_bytes())) == 1
    assert not list((tmp_path / "files" / ".incoming").iterdir())
