"""How a browser may treat a stored file: show what cannot act, download everything else.

Uploads come from strangers and are served from our own origin, so a page or an SVG must never open there.
"""

import re

_PASSIVE = {
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "text/plain",
}
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_CHARSET = re.compile(r";\s*charset=\"?([a-z0-9_-]{1,40})\"?\s*(?:;|$)")

UNKNOWN = "application/octet-stream"


def content_type(text: str | None) -> str:
    """What a client says its file is, if it can be said in a header; of its parameters only the charset is kept."""
    lowered = (text or "").strip().lower()
    kind = lowered.partition(";")[0].strip()
    if not _TYPE.fullmatch(kind):
        return UNKNOWN
    charset = _CHARSET.search(lowered)
    return f"{kind}; charset={charset[1]}" if charset else kind


def disposition(key: str, stored_type: str) -> str:
    """The Content-Disposition of a file; the name is the last segment of its key, which needs no quoting."""
    kind = stored_type.partition(";")[0]
    shown = kind in _PASSIVE or kind.startswith(("audio/", "video/"))
    return f'{"inline" if shown else "attachment"}; filename="{key.rpartition("/")[2]}"'
