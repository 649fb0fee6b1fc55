"""`make serve` where it cannot work: it says which setting is to blame, starts nothing and ends at once."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from deploy.local import serve
from deploy.local.programs import ROOT
from deploy.local.settings import read


def refused(folder: Path, **variables: str) -> str:
    """What it said, after it ended with the status for wrong settings and without having started a Redis."""
    environment = {**os.environ, "DATA_DIR": str(folder / "data"), **variables}
    command = [sys.executable, "-m", "deploy.local.serve"]
    asked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 2, asked.stdout + asked.stderr
    assert not (folder / "data" / "redis").exists()
    return asked.stderr


def test_a_port_that_is_taken(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, PORT=str(port))
    assert re.search(rf"PORT: cannot listen on 127\.0\.0\.1:{port} .*make serve PORT={port + 1}", said)


def test_a_number_that_is_none(tmp_path: Path):
    assert "WORKERS: expected a whole number from 1 to 64, not 'many'" in refused(tmp_path, WORKERS="many")


def test_a_data_directory_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    assert "DATA_DIR: " in refused(tmp_path, DATA_DIR=str(tmp_path / "file" / "data"))


def test_a_data_directory_that_is_in_use(tmp_path: Path):
    """Held by what another system has left: its supervisor lives."""
    folder = tmp_path / "data"
    settings = read({"DATA_DIR": str(folder)})
    settings.run_dir.mkdir(parents=True)
    hold = (
        "import fcntl, os, sys, signal; run = sys.argv[1]\n"
        "fcntl.flock(os.open(run + '/lock', os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)\n"
        "open(run + '/supervisor.pid', 'w').write(str(os.getpid())); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", hold, settings.run_dir], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = refused(tmp_path, PORT="0")
        holder.kill()
    assert f"DATA_DIR: a system is already running on {folder}" in said


def test_the_lock_is_free_again_when_its_holder_has_ended(tmp_path: Path):
    holder = (
        "import sys; from pathlib import Path; from deploy.local.serve import lock, LOCK_FD\n"
        "lock(Path(sys.argv[1])); import os; print(os.get_inheritable(LOCK_FD))"
    )
    for _ in range(2):
        asked = subprocess.run(
            [sys.executable, "-c", holder, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert asked.stdout == "True\n", asked.stderr
    assert serve.LOCK_FD > 64
