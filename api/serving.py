"""A stored file as an answer: who has its link may have it, until it expires.

Owns ranges, caching, and what a browser may do with it. Uploads come from strangers and are served from our origin, so
none may run there: never sniffed, sandboxed, and downloaded unless it is of a kind that cannot act.
"""

import re
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from api.context import context_of
from shared.files import keys
from shared.files.base import Elsewhere, FileMissing, Location, Stat, Store
from shared.files.disposition import disposition

_YEAR_S = 365 * 86_400
_RANGES = re.compile(r"\s*bytes\s*=(.*)", re.IGNORECASE)
_RANGE = re.compile(r"(?P<first>\d{1,40})-(?P<last>\d{0,40})|-(?P<suffix>\d{1,40})", re.ASCII)
_MOST_RANGES = 100


async def serve(request: Request) -> Response:
    """GET and HEAD. Raises `FileMissing` for what has no link, is not there or is over; `StoreUnavailable`."""
    key: str = request.path_params["key"]
    if not keys.is_public(key):
        raise FileMissing
    stat, location = await run_in_threadpool(_find, context_of(request).store, key)
    headers = _headers(key, stat)
    if _is_known(request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers={name: headers[name] for name in ("etag", "cache-control")})
    if not isinstance(location, Elsewhere):
        _settle_ranges(request, stat.size_bytes)
        return FileResponse(location.path, headers=headers, media_type=stat.content_type)
    if request.method == "HEAD":  # an address that is signed for GET cannot answer it
        length = {"content-length": str(stat.size_bytes)}
        return Response(headers={**headers, **length}, media_type=stat.content_type)
    return RedirectResponse(location.url, 302, headers={"cache-control": "no-store"})


def _find(store: Store, key: str) -> tuple[Stat, Location]:
    stat = store.stat(key)
    if stat.expires_at is not None and stat.expires_at <= datetime.now(UTC):
        raise FileMissing
    return stat, store.locate(key, stat)


def _headers(key: str, stat: Stat) -> dict[str, str]:
    left_s = _YEAR_S if stat.expires_at is None else int((stat.expires_at - datetime.now(UTC)).total_seconds())
    return {
        "etag": f'"{stat.etag}"',
        "accept-ranges": "bytes",
        "cache-control": f"public, max-age={max(0, min(left_s, _YEAR_S))}, immutable",
        "content-disposition": disposition(key, stat.content_type),
        "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }


def _settle_ranges(request: Request, size_bytes: int) -> None:
    """Leaves in the call only what `FileResponse` can serve: a Range that means nothing is ignored (RFC 9110), and so
    are those of its ranges that lie behind the end. Raises 416 if they all do."""
    wanted = request.headers.get("range")
    if wanted is None:
        return
    kept = _within(wanted, size_bytes)
    if kept == [] and "if-range" not in request.headers:
        raise HTTPException(416, headers={"content-range": f"bytes */{size_bytes}"})
    headers = [header for header in request.scope["headers"] if header[0] != b"range"]
    request.scope["headers"] = [*headers, (b"range", f"bytes={','.join(kept)}".encode())] if kept else headers


def _within(wanted: str, size_bytes: int) -> list[str] | None:
    """The ranges that begin within the file, None where the header is not well formed."""
    head = _RANGES.fullmatch(wanted)
    texts = [text.strip() for text in head[1].split(",") if text.strip()] if head else []
    ranges = [_RANGE.fullmatch(text) for text in texts[: _MOST_RANGES + 1]]
    if not 0 < len(ranges) <= _MOST_RANGES:
        return None
    kept: list[str] = []
    for text, range_ in zip(texts, ranges, strict=True):
        if range_ is None or (range_["last"] and int(range_["last"]) < int(range_["first"])):
            return None
        begins_within = int(range_["first"]) < size_bytes if range_["first"] else int(range_["suffix"]) and size_bytes
        if begins_within:
            kept.append(text)
    return kept


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known
