"""What the launcher reads from the environment. The processes that it starts read, and judge, the rest themselves."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import WrongSetting

FSYNC = ("always", "everysec", "no")
_MEMORY = re.compile(r"[0-9]{1,15}(b|kb?|mb?|gb?)?", re.IGNORECASE)
"""As Redis writes it."""


@dataclass(frozen=True)
class LocalSettings:
    """`redis_url` is None where the launcher is to start its own."""

    data_dir: Path
    host: str
    port: int
    workers: int
    redis_url: str | None
    redis_fsync: str
    redis_maxmemory: str
    tls: bool
    worker_grace_s: int
    api_grace_s: int

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def url(self) -> str:
        """Where a client on this machine finds the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def read(environment: Mapping[str, str]) -> LocalSettings:
    """Raises `WrongSetting` with the name of the first variable that is of no use; empty means unset."""
    given = {name: value for name, value in environment.items() if value}
    fsync = given.get("REDIS_FSYNC", FSYNC[0])
    if fsync not in FSYNC:
        raise WrongSetting("REDIS_FSYNC", f"expected one of {', '.join(FSYNC)}, not {fsync!r}")
    memory = given.get("REDIS_MAXMEMORY", "4gb")
    if not _MEMORY.fullmatch(memory):
        raise WrongSetting("REDIS_MAXMEMORY", f"expected a number of bytes or one like 512mb or 4gb, not {memory!r}")
    return LocalSettings(
        data_dir=Path(given.get("DATA_DIR", ".data")).expanduser().absolute(),
        host=given.get("HOST", "127.0.0.1"),
        port=_number(given, "PORT", 8000, 0, 65535),
        workers=_number(given, "WORKERS", 1, 1, 64),
        redis_url=given.get("REDIS_URL"),
        redis_fsync=fsync,
        redis_maxmemory=memory,
        tls="TLS_CERT_FILE" in given,
        worker_grace_s=_seconds(given, "GRACE_S", 30),
        api_grace_s=_seconds(given, "SHUTDOWN_GRACE_S", 5),
    )


def _number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise WrongSetting(name, f"expected a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _seconds(given: Mapping[str, str], name: str, default: int) -> int:
    """The patience that a process asks for itself, rounded up. What is no number, that process complains about."""
    try:
        value = float(given.get(name, default))
    except ValueError:
        return default
    return math.ceil(value) if 0 <= value < 1e6 else default
