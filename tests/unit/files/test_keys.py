"""Keys, names and links: nothing that a client says may leave its own segment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.files import keys
from shared.files.disposition import UNKNOWN, content_type, disposition


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\my cat.PNG", "my-cat.PNG"),
        ("naïve façade.jpeg", "naive-facade.jpeg"),
        ("猫.png", "file.png"),
        ("猫", "file"),
        ("", "file"),
        ("..", "file"),
        (".htaccess", "file.htaccess"),
        ("a\r\nSet-Cookie: x=1.png", "a-Set-Cookie-x-1.png"),
        ('a"; filename="b.html', "a-filename-b.html"),
        ("x" * 300 + ".webp", "x" * 83 + ".webp"),
        ("archive.tar.gz", "archive.tar.gz"),
        ("ends-with-slash/", "file"),
        ("nul\x00byte.png", "nul-byte.png"),
    ],
)
def test_a_name_becomes_one_plain_segment(name: str, safe: str) -> None:
    assert keys.safe_name(name) == safe


@given(st.text(max_size=400))
def test_whatever_a_client_says_an_upload_has_a_public_key(name: str) -> None:
    key = keys.upload(name)

    assert keys.is_key(key)
    assert keys.is_public(key)
    assert key.count("/") == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "..",
        "a/../b",
        ".store-id",
        "a/.b.json",
        "a b",
        "a\n",
        "ä",
        "a\\b",
        "a" * 201,
        "a/" * 257 + "a",
    ],
)
def test_these_are_no_keys(text: str) -> None:
    assert not keys.is_key(text)


def test_every_upload_lies_somewhere_else() -> None:
    assert keys.upload("a.png") != keys.upload("a.png")
    assert keys.input_picture("r") != keys.input_picture("r")


def test_a_link_gives_its_key_back() -> None:
    key = keys.result("0199-request", "c" * 32, 0, "png")

    assert keys.link("https://host/", key) == f"https://host/files/{key}"
    assert keys.of_path(f"/files/{key}") == key
    assert keys.link("https://host", key, cdn="https://cdn.test/x/") == f"https://cdn.test/x/{key}"


@pytest.mark.parametrize(
    "key",
    [
        keys.result_body("r", "c"),
        keys.input_picture("r"),
        "results/r/c/0.html",
        "uploads/guess/me.png",
        "else/where",
    ],
    ids=["result body", "input", "page", "guessed", "elsewhere"],
)
def test_only_pictures_and_uploads_have_links(key: str) -> None:
    assert keys.is_key(key)
    assert not keys.is_public(key)
    assert keys.of_path(f"/files/{key}") is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("image/PNG", "image/png"),
        (" text/plain; charset=UTF-8; x=y", "text/plain; charset=utf-8"),
        ("text/html\r\nX: y", UNKNOWN),
        ("image", UNKNOWN),
        (None, UNKNOWN),
        ("image/svg+xml", "image/svg+xml"),
        ("a/b/c", UNKNOWN),
    ],
)
def test_a_content_type_is_kept_only_if_it_is_one(said: str | None, kept: str) -> None:
    assert content_type(said) == kept


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "application/pdf", UNKNOWN])
def test_what_can_act_is_downloaded(kind: str) -> None:
    assert disposition("uploads/a/page.html", kind) == 'attachment; filename="page.html"'


@pytest.mark.parametrize("kind", ["image/png", "text/plain; charset=utf-8", "video/mp4"])
def test_what_cannot_act_is_shown(kind: str) -> None:
    assert disposition("uploads/a/x", kind) == 'inline; filename="x"'
