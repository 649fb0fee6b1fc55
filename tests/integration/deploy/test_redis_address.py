"""A REDIS_URL that means nothing: every program ends with the one line that says so, and nobody reads a password.
Nor does a stranger where Redis should be."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from redis.exceptions import ConnectionError as ConnectionLost

from deploy.local.programs import ROOT
from worker.broker import Broker

PROGRAMS = {
    "api": "api",
    "keys": "api.keys list",
    "quarantine": "api.quarantine list",
    "courier": "worker.courier",
    "worker": "worker.app",
    "celery": "celery -A worker.app worker --pool threads --concurrency 1 -Q image",
}


def end(folder: Path, module: str, url: str) -> tuple[int, str]:
    """The exit status, and all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", *module.split()],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(folder), "PORT": "0", "KOLORS_MODEL": "fake", "REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr/etpw@127.0.0.1:1/0",
        "redis://:s3cr\u2100etpw@127.0.0.1:1/0",
        "redis://:s3cr;etpw@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=s3cretpw&socket_timeout=s3cr",
    ],
    ids=["slash", "account-of", "semicolon", "option"],
)
def test_it_is_named_and_not_repeated(tmp_path: Path, module: str, url: str) -> None:
    status, said = end(tmp_path, module, url)
    assert status == 2
    assert said.startswith("REDIS_URL: ")
    assert said.count("\n") == 1
    assert "s3cr" not in said
    assert "etpw" not in said


def test_nor_by_the_launcher(tmp_path: Path) -> None:
    status, said = end(tmp_path, "deploy.local.serve", "redis://:s3cr/etpw@127.0.0.1:1/0")
    assert status == 2
    assert "cannot start with these settings. REDIS_URL: " in said
    logs = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    for shown in (said, logs):
        assert "s3cr" not in shown
        assert "etpw" not in shown


def test_a_worker_takes_what_celery_takes(tmp_path: Path) -> None:
    status, said = end(tmp_path, "worker.app", "unix:///run/redis.sock")
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("REDIS_URL: ")


class Stranger:
    """Stands where Redis should be, with a certificate of its own for `localhost`."""

    def __init__(self, folder: Path) -> None:
        self.heard = b""
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"rediss://:s3cretpw@localhost:{self.server.getsockname()[1]}"
        self.authority = folder / "authority.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)  # pyright: ignore[reportUnknownMemberType]
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.server.close()

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self.server.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    with self._context.wrap_socket(connection, server_side=True) as line:
                        self.heard += line.recv(1000)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    stranger = Stranger(tmp_path)
    yield stranger
    stranger.close()


def call(url: str) -> None:
    """As the worker's Celery does."""
    with pytest.raises(ConnectionLost), Broker(lambda: url, lambda: None).app.connection_for_read() as connection:
        connection.transport.establish_connection()


@pytest.mark.parametrize("rest", ["", "/0", "/0?ssl_check_hostname=true", "/0?ssl_cert_reqs=required"])
def test_a_stranger_is_not_told_the_password(stranger: Stranger, rest: str) -> None:
    call(stranger.address + rest)
    assert stranger.heard == b""


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_ca_certs={authority}"])
def test_unless_it_is_trusted(stranger: Stranger, option: str) -> None:
    call(f"{stranger.address}/0?{option.format(authority=stranger.authority)}")
    assert b"s3cretpw" in stranger.heard
