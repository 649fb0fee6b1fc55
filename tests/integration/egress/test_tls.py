"""TLS: the certificate is checked against the name that was called, not against the address that was connected to."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.integration.egress.web import WebServer, says

PROGRAM = """
import sys
from shared.egress import Allow, FetchFailed, fetch
try:
    print(fetch(sys.argv[1], max_bytes=1000, timeout_s=20, allow=Allow.parse("localhost")).content.decode())
except FetchFailed as error:
    print("failed:", error.message)
"""


def _fetch(url: str, authority: Path) -> str:
    """In a process of its own, because who is trusted is read once per process."""
    environment = {**os.environ, "SSL_CERT_FILE": str(authority)}
    command = [sys.executable, "-c", PROGRAM, url]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def _serve_tls(web: WebServer, authority: trustme.CA, name: str) -> list[str | None]:
    """Puts TLS before the server; returns the list that will hold the names that clients asked for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    context.sni_callback = lambda connection, asked_name, _: asked.append(asked_name)
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    return asked


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return authority, file


def test_the_certificate_of_the_called_name_is_accepted(web: WebServer, authority: tuple[trustme.CA, Path]) -> None:
    asked = _serve_tls(web, authority[0], "localhost")
    web.answers["/"] = says(200, b"hello")

    assert _fetch(f"https://localhost:{web.port}/", authority[1]) == "hello"
    assert asked == ["localhost"]


def test_the_certificate_of_another_name_is_not(web: WebServer, authority: tuple[trustme.CA, Path]) -> None:
    _serve_tls(web, authority[0], "other.test")
    web.answers["/"] = says(200, b"hello")

    assert _fetch(f"https://localhost:{web.port}/", authority[1]).startswith("failed:")
    assert not web.calls


def test_an_unknown_authority_is_not_believed(web: WebServer, authority: tuple[trustme.CA, Path]) -> None:
    _serve_tls(web, trustme.CA(), "localhost")
    web.answers["/"] = says(200, b"hello")

    assert _fetch(f"https://localhost:{web.port}/", authority[1]).startswith("failed:")
