"""From what a stranger wrote to a URL that means one thing to every parser. Pure."""

import re
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from shared.egress.errors import Blocked

_PORTS = {"http": 80, "https": 443}
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_LONGEST = 8192
_SAFE = "%/:?#[]@!$&'()*+,;=~-._"


def checked(url: str) -> str:
    """The URL in ASCII, without its fragment.

    Raises `Blocked` for other schemes than http and https, for a user name or password in it (they would be sent to
    whoever a redirect names, and end up in logs), and for what parsers disagree about.
    """
    if len(url) > _LONGEST:
        raise Blocked("The address is too long")
    if _ODD.search(url):
        raise Blocked("The address contains a backslash or a control character")
    parts = _split(url.strip())
    if parts.scheme not in _PORTS:
        raise Blocked("Only http:// and https:// addresses are called")
    if "@" in parts.netloc:
        raise Blocked("The address must not contain a user name")
    host, port = _host(parts), _port(parts)
    authority = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        authority += f":{port}"
    path = quote(parts.path or "/", safe=_SAFE)
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return f"{parts.scheme}://{authority}{path}{query}"


def redirected(url: str, location: str) -> str:
    """Where an answer sends its caller, checked like any address. https may lead to http: nothing secret is sent."""
    try:
        return checked(urljoin(url, location))
    except ValueError as error:
        raise Blocked("The redirect leads to no address") from error


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise Blocked("This is no address") from error


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise Blocked("The host has no valid name") from error
    if not _HOST.fullmatch(host):
        raise Blocked("The host has no valid name")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError as error:
        raise Blocked("The port is none") from error
    if port == 0:
        raise Blocked("The port is none")
    return port or _PORTS[parts.scheme]
