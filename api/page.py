"""What a browser is told about a page of ours: to run nothing but what is in it, and to show it in nobody's frame."""

import base64
import hashlib
import re

_INLINE = {kind: re.compile(rf"<{kind}>(.*?)</{kind}>".encode(), re.DOTALL) for kind in ("script", "style")}


def page_headers(page: bytes) -> dict[str, str]:
    """For a page whose scripts and styles are its own files or stand in it; pictures and calls may go anywhere."""
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' {_hashes(page, 'script')}".strip(),
        "style-src": f"'self' {_hashes(page, 'style')}".strip(),
        "img-src": "* data: blob:",
        "connect-src": "*",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def _hashes(page: bytes, kind: str) -> str:
    digests = (hashlib.sha256(found).digest() for found in _INLINE[kind].findall(page))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
