"""The certificates of `make dev-tls`, in a real handshake."""

import datetime as dt
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.local.dev_tls import NAMES, Paths, is_good, make
from deploy.local.programs import ROOT


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    folder = tmp_path_factory.mktemp("tls")
    paths = Paths(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    make(paths)
    return paths


def greet(paths: Paths, name: str, trusted: Path | None) -> str | None:
    """Calls a server that has the certificate, under `name`; returns the protocol that was agreed on."""
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    there.load_cert_chain(paths.certificate, paths.key)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with there.wrap_socket(theirs, server_side=True):
                pass
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ssl.create_default_context(cafile=trusted).wrap_socket(ours, server_hostname=name) as connection:
            return connection.version()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", [name.replace("*", "v3") for name in NAMES] + ["127.0.0.1", "::1"])
def test_clients_that_trust_the_authority_accept_it(paths: Paths, name: str):
    assert greet(paths, name, paths.authority) == "TLSv1.3"


def test_it_is_good_for_nobody_else(paths: Paths):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        greet(paths, "example.com", paths.authority)


def test_others_do_not_trust_it(paths: Paths):
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(paths, "localhost", None)


def test_the_key_is_private(paths: Paths):
    assert stat.S_IMODE(paths.key.stat().st_mode) == 0o600


def test_it_is_made_anew_before_it_ends(paths: Paths):
    now = dt.datetime.now(dt.UTC)
    assert is_good(paths, now)
    assert not is_good(paths, now + dt.timedelta(days=360))


def test_the_command_prints_what_to_type_and_keeps_what_it_made(tmp_path: Path):
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "PORT": "8443"}
    command = [sys.executable, "-m", "deploy.local.dev_tls"]
    printed: list[str] = []
    keys: list[bytes] = []
    for _ in range(2):
        asked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        printed.append(asked.stdout)
        keys.append((tmp_path / "tls" / "key.pem").read_bytes())
    assert keys[0] == keys[1]
    assert printed[0] == printed[1]
    assert f"SSL_CERT_FILE={tmp_path}/tls/authority.pem" in printed[0]
    assert "FAL_RUN_HOST=localhost:8443/run FAL_QUEUE_RUN_HOST=localhost:8443" in printed[0]
