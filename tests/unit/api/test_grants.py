"""Permissions to upload: nobody but the server writes them, and they end."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from api.grants import Grant, Grants, Purpose, is_grant
from shared.errors import BadCredentials, WrongSetting

GRANT = Grant(Purpose.PARTS, "tenant", int(time.time()) + 86_400, "uploads/a/b.png", "upload", "image/png", 60)


@pytest.fixture
def grants(tmp_path: Path) -> Grants:
    return Grants.of_folder(tmp_path / "keys")


def test_a_grant_reads_as_it_was_written(grants: Grants) -> None:
    text = grants.write(GRANT)

    assert is_grant(text)
    assert grants.read(text, Purpose.FILE, Purpose.PARTS) == GRANT
    assert text.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_every_process_with_the_same_folder_reads_it(grants: Grants, tmp_path: Path) -> None:
    assert Grants.of_folder(tmp_path / "keys").read(grants.write(GRANT), Purpose.PARTS) == GRANT
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["uploads.key"]
    assert (tmp_path / "keys" / "uploads.key").stat().st_mode & 0o077 == 0


def test_another_server_does_not(grants: Grants, tmp_path: Path) -> None:
    with pytest.raises(BadCredentials):
        Grants.of_folder(tmp_path / "others").read(grants.write(GRANT), Purpose.PARTS)


def test_any_altered_letter_spoils_it(grants: Grants) -> None:
    text = grants.write(GRANT)

    for place in range(0, len(text), 7):
        altered = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(BadCredentials):
            grants.read(altered, Purpose.PARTS)


@pytest.mark.parametrize("text", ["", "kolors-upload.", "kolors-upload.e30.", "kolors-upload.é.é", "id:secret"])
def test_what_is_no_grant_is_refused(grants: Grants, text: str) -> None:
    with pytest.raises(BadCredentials):
        grants.read(text, Purpose.PARTS)


def test_a_grant_serves_its_purpose_only(grants: Grants) -> None:
    with pytest.raises(BadCredentials):
        grants.read(grants.write(GRANT), Purpose.SESSION)


def test_a_grant_ends_a_little_later_than_it_says(grants: Grants) -> None:
    late = replace(GRANT, until_s=int(time.time()) - 60)
    over = replace(GRANT, until_s=int(time.time()) - 3600)

    assert grants.read(grants.write(late), Purpose.PARTS) == late
    with pytest.raises(BadCredentials, match="expired"):
        grants.read(grants.write(over), Purpose.PARTS)


def test_a_signed_grant_of_another_shape_is_refused(grants: Grants, tmp_path: Path) -> None:
    class Newer(Grants):
        def write_text(self, payload: str) -> str:
            return f"kolors-upload.{payload}.{self._sign(payload)}"

    newer = Newer.of_folder(tmp_path / "keys")

    for payload in ("e30", "W10", "eyJhIjoxfQ", "bm90IGpzb24", "a"):
        with pytest.raises(BadCredentials):
            grants.read(newer.write_text(payload), Purpose.PARTS)


def test_a_spoiled_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "uploads.key").write_bytes(b"short")

    with pytest.raises(WrongSetting, match=r"uploads\.key"):
        Grants.of_folder(tmp_path)
    with pytest.raises(WrongSetting, match="DATA_DIR"):
        Grants.of_folder(tmp_path / "uploads.key" / "below")
