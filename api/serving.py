"""A stored file as an answer: who has its link may have it, until it expires.

Owns ranges, caching, and what a browser may do with it. Uploads come from strangers and are served from our origin, so
none may run there: never sniffed, sandboxed, and downloaded unless it is of a kind that cannot act.
"""

from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from api.context import context_of
from shared.files import keys
from shared.files.base import Elsewhere, FileMissing, Location, Stat, Store
from shared.files.disposition import disposition

_YEAR_S = 365 * 86_400


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


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known
