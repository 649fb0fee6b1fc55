"""Where each kind of file lies in the store, and what its link looks like.

Owns the grammar of keys. Knows no store. Every key holds 128 random bits (a claim id or one drawn here), so a
link is a capability: whoever has it may read that one file, and can guess no other. What the product writes itself is
spread over 256 folders: a folder for each request would cost as much as the file in it.
"""

import re
import secrets
import unicodedata

_KEY = re.compile(r"(?!.{513})[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*", re.ASCII)
_PICTURE = re.compile(r"results/[^/]+/[^/]+-\d+\.(?:png|jpeg|jpg|webp)")
_UPLOAD = re.compile(r"uploads/[0-9a-f]{32}/[^/]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 100


def is_key(text: str) -> bool:
    """Safe segments only, none beginning with a dot: those names belong to the stores themselves."""
    return _KEY.fullmatch(text) is not None


def is_public(key: str) -> bool:
    """Whether a link may name it. Inputs and result bodies may not: a picture's link must not tell its prompt."""
    return is_key(key) and (_PICTURE.fullmatch(key) or _UPLOAD.fullmatch(key)) is not None


def result(request: str, claim: str, index: int, extension: str) -> str:
    """The `index`-th picture of one attempt; `extension` without the dot."""
    return f"{_attempt(request, claim)}-{index}.{extension}"


def result_body(request: str, claim: str) -> str:
    """The result JSON of one attempt, where it is too large for the queue."""
    return f"{_attempt(request, claim)}-result.json"


def input_picture(request: str) -> str:
    """A new place for the picture that came inside a submission."""
    drawn = secrets.token_hex(16)
    return f"inputs/{drawn[:2]}/{request}-{drawn}"


def upload(name: str | None) -> str:
    """A new place for a file that a client sends; `name` may be anything the client said."""
    return f"uploads/{secrets.token_hex(16)}/{safe_name(name or '')}"


def _attempt(request: str, claim: str) -> str:
    return f"results/{claim[:2]}/{request}-{claim}"


def safe_name(name: str) -> str:
    """What is left of a client's file name: one path segment of plain characters, never empty, never hidden.

    Accents are dropped, anything else that is not plain becomes a dash, and a long name keeps its extension.
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    stem, dot, extension = _UNSAFE.sub("-", plain).rpartition(".")
    if not dot:
        stem, extension = extension, ""
    extension = extension.strip("-")[:16]
    stem = stem.strip(".-")[: _NAME_LENGTH - 17] or "file"
    return f"{stem}.{extension}" if extension else stem


def link(base: str, key: str, *, cdn: str | None = None) -> str:
    """The address that is given out: on this server, or straight on the CDN that stands before the bucket."""
    return f"{cdn.rstrip('/')}/{key}" if cdn else f"{base.rstrip('/')}/files/{key}"


def of_path(path: str) -> str | None:
    """The key that a link's URL path names, or None if it is not the path of a public file."""
    key = path.removeprefix("/files/")
    return key if key != path and is_public(key) else None
