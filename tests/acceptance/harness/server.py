"""A whole system in a private directory, started and stopped exactly as `make serve` does it.

Its output goes to a file, whose end is shown when something fails. It is stopped by SIGTERM, and no process
of it may be left after that: processes are known by the DATA_DIR in their environment, orphans included.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.acceptance.harness.caller import trust
from tests.acceptance.harness.waiting import TookTooLong, until
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
LAUNCHER = (sys.executable, "-I", "-S", "deploy/local/leash.py", sys.executable, "-m", "deploy.local.serve")
"""The recipe of `make serve`."""
START_S = 120
STOP_S = 40


@dataclass(frozen=True)
class Server:
    url: str
    port: int
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]
    ca_file: str | None

    def pid(self, name: str) -> int:
        """Of the live process that wrote this pid file; raises FileNotFoundError before it has."""
        return int((self.data_dir / "run" / f"{name}.pid").read_text().strip())

    def kill(self, name: str) -> int:
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def cpu_s(self, name: str) -> float:
        """Processor time that this process has used so far: who works and who does not."""
        fields = Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=5, verify=trust(self.ca_file), trust_env=False).is_success
        except httpx.TransportError:
            return False

    def tail(self, lines: int = 60) -> str:
        """The end of what the system and each of its processes have logged."""
        files = [self.log, *sorted(self.data_dir.glob("log*/*"))]
        parts: list[str] = []
        for file in files:
            if file.is_file():
                text = file.read_text(errors="replace").splitlines()[-lines:]
                parts += [f"--- {file.name}", *text]
        return "\n".join(parts)

    def processes(self) -> list[int]:
        """Every live process that was started with this data directory, whoever its parent is now."""
        mark = f"DATA_DIR={self.data_dir}".encode()
        return [pid for pid in _pids() if mark in _environment(pid).split(b"\0")]


def start(directory: Path, *, ca_file: str | None = None, **settings: str) -> Server:
    """Returns when `/ready` says yes. Keyword arguments are settings, by their lower-case names."""
    port = free_port()
    data_dir = directory / "data"
    scheme = "https" if "tls_cert_file" in settings else "http"
    host = "localhost" if scheme == "https" else "127.0.0.1"
    log = directory / "serve.log"
    directory.mkdir(parents=True, exist_ok=True)
    environment = _clean_environment() | {
        "PORT": str(port),
        "DATA_DIR": str(data_dir),
        **{name.upper(): value for name, value in settings.items()},
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            LAUNCHER, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Server(f"{scheme}://{host}:{port}", port, data_dir, log, process, ca_file)
    try:
        until(lambda: _answer(server), within_s=START_S, what="the system is ready", pause_s=0.1)
    except BaseException as error:
        logs = server.tail()
        _abandon(server)
        raise RuntimeError(f"the system did not start\n{logs}") from error
    return server


def stop(server: Server) -> None:
    """SIGTERM, as `make serve` gets it. Raises AssertionError if it takes too long or leaves a process behind."""
    server.process.send_signal(signal.SIGTERM)
    try:
        code = server.process.wait(timeout=STOP_S)
        left = [_command(pid) for pid in server.processes()]
        assert not left, f"left behind: {left}"
        assert code in {0, -signal.SIGTERM, 128 + signal.SIGTERM}, f"exit status {code}\n{server.tail()}"
    finally:
        _abandon(server)


def _answer(server: Server) -> bool:
    code = server.process.poll()
    if code is not None:
        raise TookTooLong(f"the launcher ended with exit status {code}")
    return server.is_ready()


def _abandon(server: Server) -> None:
    for pid in [*server.processes(), server.process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    server.process.wait()


_SETTINGS = ("REDIS_URL", "STORAGE_URL", "PUBLIC_URL", "API_KEYS", "WORKERS", "KOLORS_MODEL", "EGRESS_ALLOW")


def _clean_environment() -> dict[str, str]:
    """Ours, less what would configure the product from outside of the tests."""
    return {name: value for name, value in os.environ.items() if name not in _SETTINGS}


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"pid {pid}, which has gone"
