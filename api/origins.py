"""Which of fal's origins a call is for, and what the links in its answer start with.

fal has four hosts with overlapping paths; this server has one. This ASGI layer turns (host, path) into one internal
path, so that no route has to know of it:

    queue   /fal-ai/kolors/…          Host queue.fal.run, or any other name
    sync    /run/fal-ai/kolors/…      Host fal.run
    REST    /storage/…, /tokens       Host rest.fal.ai
    CDN     /files/…                  Host *.fal.media
    proxy   /api/fal/proxy            `x-fal-target-url` names the host and the path; nothing is ever fetched

Repeated and trailing slashes, the full-path alias of requests and `/response` are taken away here, too.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import cast
from urllib.parse import unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.settings import ApiSettings
from shared.errors import BadRequest
from shared.wire.headers import TARGET_URL, only
from shared.wire.queue import APP, ENDPOINT

RUN = "/run"
PROXY = "/api/fal/proxy"

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{0,5}))?", re.ASCII)
_LARGEST_PORT = 65535
_SLASHES = re.compile(r"/{2,}")
_OWN = frozenset(
    {"", "run", "files", "storage", "api", "tokens", "health", "ready", "metrics", "openapi.json", ".well-known"}
)
"""First segments that mean the same on every host, so that a link made under any name leads somewhere."""
_PROXY_METHODS = frozenset({"GET", "HEAD", "POST", "PUT"})
_REQUESTS = f"/{APP}/requests/"
_REQUESTS_ALIAS = f"/{ENDPOINT}/requests/"


def base_of(connection: HTTPConnection) -> str:
    """What every link in the answer to this call starts with, without a trailing slash: `https://host:port`."""
    return cast("str", connection.scope["kolors.base"])


def canonical(path: str) -> str:
    """The one spelling of a path: no empty segments, requests under the app and not under the endpoint."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path.endswith("/"):
        path = path.rstrip("/") or "/"
    if path.startswith(_REQUESTS_ALIAS):
        path = _REQUESTS + path[len(_REQUESTS_ALIAS) :]
    if path.endswith("/response") and path.startswith(_REQUESTS):
        path = path.removesuffix("/response")
    return path


def not_found(path: str) -> str:
    """What an internal path that leads nowhere is told: as on fal, relative to the app."""
    path = path.removeprefix(RUN) if path.startswith(f"{RUN}/") else path
    for app in (f"/{ENDPOINT}", f"/{APP}"):
        if path == app or path.startswith(f"{app}/"):
            return f"Path {path.removeprefix(app) or '/'} not found"
    owner, _, name = path.strip("/").partition("/")
    if name and owner not in _OWN:
        return f"Application {name.split('/')[0]!r} of {owner!r} not found"
    return f"Path {path} not found"


class HostNames:
    """A set of host names; `*.` stands for any subdomain. A name without a port stands for every port.

    Case makes no difference, nor does the dot at the end of a name that is written out in full.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def __contains__(self, authority: str) -> bool:
        host, colon, port = authority.lower().rpartition(":") if not authority.endswith("]") else (authority, "", "")
        host = (host if colon else port or host).removesuffix(".")
        return host in self._exact or f"{host}:{port}" in self._exact or host.endswith(self._suffixes)


class Origins:
    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._public_url = settings.public_url
        self._run = HostNames(settings.run_hosts)
        self._fal = HostNames(settings.queue_hosts + settings.run_hosts + settings.rest_hosts + settings.cdn_hosts)
        self._proxies = settings.trusted_proxies
        self._place = lru_cache(4096)(self._place_of)
        self._trusts = lru_cache(4096)(self._is_proxy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._rewrite(scope)
        await self._app(scope, receive, send)

    def _rewrite(self, scope: Scope) -> None:
        if not cast("str", scope["path"]).startswith("/"):  # as `*`, which is for OPTIONS only
            raise BadRequest("The address is no path")
        scheme, authority = self._called(scope)
        scope["kolors.base"], on_run = self._place(scheme, authority)
        path = canonical(cast("str", scope["path"]))
        if path == PROXY:
            path, on_run = self._target(scope)
        if on_run and path.split("/", 2)[1] not in _OWN:
            path = RUN + path
        scope["path"] = path

    def _called(self, scope: Scope) -> tuple[str, str]:
        """The scheme and authority that the client itself used."""
        scheme, authority = cast("str", scope["scheme"]), ""
        hosts = 0
        forwarded: dict[bytes, bytes] = {}
        for name, value in cast("list[tuple[bytes, bytes]]", scope["headers"]):
            if name == b"host":
                authority = value.decode("latin-1")
                hosts += 1
            elif name in {b"x-forwarded-proto", b"x-forwarded-host"}:
                forwarded[name] = value
        if forwarded and self._trusts(_caller(scope)):
            proto = _nearest(forwarded.get(b"x-forwarded-proto", b"")).lower()
            scheme = proto if proto in {"http", "https"} else scheme
            authority = _nearest(forwarded.get(b"x-forwarded-host", b"")) or authority
        if hosts > 1:  # whoever stands between may have looked at the other
            raise BadRequest("There is more than one Host header")
        if not authority:
            host, port = cast("tuple[str, int | None] | None", scope.get("server")) or ("localhost", None)
            authority = f"{host}:{port}" if port else host
        return scheme, authority

    def _is_proxy(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in self._proxies)

    def _place_of(self, scheme: str, authority: str) -> tuple[str, bool]:
        """(base, whether the call is for the synchronous origin by its host)."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None or int(found["port"] or 0) > _LARGEST_PORT:
            raise BadRequest("The Host header is no host name")
        return self._public_url or f"{scheme}://{authority}", authority in self._run

    def _target(self, scope: Scope) -> tuple[str, bool]:
        """Puts the proxied call in the place of the proxy's own. Returns its path and whether it is synchronous."""
        if scope["method"] not in _PROXY_METHODS:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(_PROXY_METHODS))})
        header = only(TARGET_URL, HTTPConnection(scope).headers.getlist(TARGET_URL))
        if header is None:
            raise BadRequest(f"The {TARGET_URL} header is missing")
        try:
            target = urlsplit(header)
        except ValueError as error:
            raise BadRequest(f"The {TARGET_URL} header is no address") from error
        if target.scheme not in {"http", "https"} or "@" in target.netloc or target.netloc not in self._fal:
            raise BadRequest(f"The {TARGET_URL} header names no host of fal's")
        scope["query_string"] = target.query.encode()
        return canonical(unquote(target.path) or "/"), target.netloc in self._run


def _nearest(value: bytes) -> str:
    """The last entry is the one that our own proxy wrote."""
    return value.decode("latin-1").rsplit(",", 1)[-1].strip()


def _caller(scope: Scope) -> str:
    client = cast("tuple[str, int] | None", scope.get("client"))
    return client[0] if client else ""
