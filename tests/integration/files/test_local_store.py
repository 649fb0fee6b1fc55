"""What only a folder can do wrong: links, full disks, crashes half-way."""

import os
import resource
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from shared.files import keys
from shared.files.base import (
    AlreadyThere,
    FileMissing,
    Part,
    PartsMismatch,
    PartsTooLarge,
    Stat,
    StoreUnavailable,
)
from shared.files.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "files")


def _begin(store: LocalStore) -> tuple[str, str]:
    key = keys.upload("a.bin")
    return key, store.begin_multipart(key, content_type="a/b", expires_at=None)


def _send(store: LocalStore, key: str, upload: str, number: int, content: bytes, most_bytes: int = 2**30) -> Part:
    return store.put_part(key, upload, number, BytesIO(content), most_bytes=most_bytes)


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


def test_what_cannot_be_removed_keeps_nothing_else(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tmp_path / "files" / ".parts"
    remove, later = shutil.rmtree, datetime.now(UTC) + timedelta(hours=1)
    stuck = [_begin(store)[1] for _ in range(2)]

    def remove_others(folder: Path, *, ignore_errors: bool) -> None:
        if not folder.name.startswith(tuple(stuck)):  # as where another machine has one of its parts open
            remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", remove_others)
    for _ in range(40):
        for _ in range(3):
            _begin(store)
        (tmp_path / "files" / ".incoming" / "half").touch()
        with pytest.raises(StoreUnavailable):
            store.drop_unfinished(before=later)
        assert {folder.name.partition("-")[0] for folder in parts.iterdir()} == set(stuck)
        assert not list((tmp_path / "files" / ".incoming").iterdir())
    monkeypatch.undo()
    assert store.drop_unfinished(before=datetime.now(UTC) - timedelta(hours=1)) == len(stuck)
    assert not list(parts.iterdir())


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


def _parts(root: Path) -> list[int]:
    """Their numbers."""
    return sorted(
        int(name.rpartition("/")[2].partition("-")[0]) for name in _files(root / ".parts") if "json" not in name
    )


def test_parts_that_are_sent_again_do_not_pile_up(store: LocalStore, tmp_path: Path) -> None:
    place = _begin(store)

    for content in (b"a", b"b", b"b", b"c"):
        for number in (111, 11, 1):
            _send(store, *place, number, content)

    assert _parts(tmp_path / "files") == [1, 11, 111]
    assert not list((tmp_path / "files" / ".incoming").iterdir())


def test_what_a_crash_left_of_a_part_goes_with_the_next_of_its_number(store: LocalStore, tmp_path: Path) -> None:
    place = _begin(store)
    _send(store, *place, 1, b"before")
    (before,) = (tmp_path / "files" / ".parts").rglob("1-*")
    before.with_name(f"1-{'0' * 64}").write_bytes(b"came, and took no place yet")

    _send(store, *place, 1, b"after", most_bytes=5)

    assert _parts(tmp_path / "files") == [1]


def test_parts_at_once_have_no_more_than_so_many_bytes_together(store: LocalStore, tmp_path: Path) -> None:
    for _ in range(20):
        place, go = _begin(store), threading.Barrier(8)

        def send(number: int, place: tuple[str, str] = place, go: threading.Barrier = go) -> int | None:
            go.wait()
            with suppress(PartsTooLarge):
                return _send(store, *place, number, b"x", most_bytes=3).number
            return None

        with ThreadPoolExecutor(8) as pool:
            came = [number for number in pool.map(send, range(1, 9)) if number]

        assert len(came) == 3
        assert _parts(tmp_path / "files") == came
        assert not list((tmp_path / "files" / ".incoming").iterdir())
        store.drop_unfinished(before=datetime.now(UTC) + timedelta(hours=1))


def test_of_parts_of_one_number_at_once_one_stays(store: LocalStore, tmp_path: Path) -> None:
    place = _begin(store)

    def send(byte: int) -> Part:
        return _send(store, *place, 1, bytes([byte]) * 50_000)

    with ThreadPoolExecutor(16) as pool:
        parts = set(pool.map(send, range(64)))

    (kept,) = (tmp_path / "files" / ".parts").rglob("1-*")
    assert Part(1, kept.name.removeprefix("1-")) in parts
    assert len(parts) == 64


def test_a_part_that_comes_while_all_are_joined_is_too_late_or_makes_them_others(
    store: LocalStore, tmp_path: Path
) -> None:
    old, new, end = b"o" * 400_000, b"n" * 400_000, b"e" * 400_000
    for _ in range(20):
        key, upload = _begin(store)
        parts = [_send(store, key, upload, 1, old), _send(store, key, upload, 2, end)]
        go = threading.Barrier(2)

        def replace(key: str = key, upload: str = upload, go: threading.Barrier = go) -> Part | None:
            go.wait()
            with suppress(FileMissing):
                return _send(store, key, upload, 1, new)
            return None

        with ThreadPoolExecutor(1) as pool:
            replacing = pool.submit(replace)
            go.wait()
            try:
                store.complete_multipart(key, upload, parts)
            except PartsMismatch:
                replaced = replacing.result()
                assert replaced is not None
                store.complete_multipart(key, upload, [replaced, parts[1]])
                assert (tmp_path / "files" / key).read_bytes() == new + end
            else:
                assert (tmp_path / "files" / key).read_bytes() == old + end
        assert not list((tmp_path / "files" / ".parts").iterdir()), "nothing comes in behind what is removed"


def test_completing_again_after_a_crash_answers_the_same(store: LocalStore, tmp_path: Path) -> None:
    key, upload = _begin(store)
    part = _send(store, key, upload, 1, b"all of it")
    (folder,) = (tmp_path / "files" / ".parts").iterdir()
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    done = store.complete_multipart(key, upload, [part])

    kept.rename(folder)  # as if it had ended before it could remove them

    assert store.complete_multipart(key, upload, [part]) == done
    assert not list((tmp_path / "files" / ".incoming").iterdir())
