"""A REDIS_URL that means nothing: every program ends with the one line that says so, and nobody reads a password."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.programs import ROOT

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
        "redis://127.0.0.1:1/0?password=s3cretpw&socket_timeout=s3cr",
    ],
    ids=["slash", "account-of", "option"],
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
