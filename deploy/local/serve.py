"""`python -m deploy.local.serve`: the whole system in the foreground, on one machine, without containers.

Composition root of the embedded start: settings → lock → Redis → supervisor. The pids are in `$DATA_DIR/run`, each
written by its process; the logs are on the terminal and in `$DATA_DIR/log`.
"""

import fcntl
import os
import resource
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

from deploy.local import redis
from deploy.local.foreground import run
from deploy.local.programs import ROOT, configuration, programs
from deploy.local.settings import LocalSettings, read
from shared.errors import WrongSetting

LOCK_FD = 200
"""High, so that the supervisor does not close it: the lock is held until the last program has ended."""
LOCK_WAIT_S = 15.0


def main() -> int:
    try:
        settings = read(os.environ)
        prepare(settings)
        settings = replace(settings, port=settings.port or redis.free_port())
        check_port(settings.host, settings.port)
        own = None if settings.redis_url else redis.embedded(settings)
    except WrongSetting as error:
        print(f"Not started. {error.message}", file=sys.stderr)
        return 2
    os.environ["PORT"] = str(settings.port)
    if own:
        os.environ["REDIS_URL"] = own.url
    listed = programs(settings, own.command if own else None)
    file = settings.run_dir / "supervisor.conf"
    file.write_text(configuration(settings, listed))
    return run(file, [program.name for program in listed])


def prepare(settings: LocalSettings) -> None:
    """The directories, the lock, and room for many connections. Raises `WrongSetting`."""
    os.chdir(ROOT)
    os.environ["DATA_DIR"] = str(settings.data_dir)
    try:
        for directory in (settings.run_dir, settings.log_dir):
            directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongSetting("DATA_DIR", f"{error.strerror}: {error.filename}") from error
    lock(settings.run_dir)
    for stale in settings.run_dir.glob("*.pid"):
        stale.unlink()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = most if most != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(min(enough, 65536), LOCK_FD + 1), most))


def lock(run_dir: Path) -> None:
    """Two systems on one data directory would destroy each other's files. Raises `WrongSetting`.

    The lock belongs to every program of a system, so what is left of one that was killed counts, too; it is waited
    for, since it is already ending.
    """
    file = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline or _is_running(run_dir):
                raise WrongSetting("DATA_DIR", f"a system is already running on {run_dir.parent}") from None
            time.sleep(0.1)
    os.dup2(file, LOCK_FD, inheritable=True)
    os.close(file)


def check_port(host: str, port: int) -> None:
    """Raises `WrongSetting` where somebody listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            name = "HOST" if isinstance(error, socket.gaierror) else "PORT"
            raise WrongSetting(
                name, f"cannot listen on {host}:{port} ({error.strerror}). Take another one: make serve PORT={port + 1}"
            ) from error


def _is_running(run_dir: Path) -> bool:
    """Whether the supervisor of this directory lives, rather than only programs that it left."""
    try:
        os.kill(int((run_dir / "supervisor.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
