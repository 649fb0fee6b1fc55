"""`python -m api` as an operator meets it: it starts, it says why it will not, it ends when told to."""

import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import trustme

from shared.queue import commands
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
START_S = 40


class Process:
    """The API as a child. `environment` is all that it gets."""

    def __init__(self, folder: Path, before: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        self.child = subprocess.Popen(
            [*before, sys.executable, "-m", "api"],
            env={"DATA_DIR": str(folder), "PATH": "/usr/bin:/bin"} | environment,
            cwd=Path(__file__).parents[3],
            stderr=subprocess.PIPE,
            text=True,
        )

    def port(self) -> int:
        """The port it says it listens on."""
        assert self.child.stderr is not None
        for line in self.child.stderr:
            if "running on" in line:
                return int(line.split("://", 1)[1].split(" ", 1)[0].rsplit(":", 1)[1])
        raise AssertionError("it ended without a word")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(START_S)

    def refusal(self) -> str:
        """What it says when it does not start."""
        _, said = self.child.communicate(timeout=START_S)
        assert self.child.returncode == 2
        return said


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.child.kill()
        process.child.wait()
        if process.child.stderr is not None:
            process.child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_writes_its_pid_and_ends_well_with_an_open_stream(
    tmp_path: Path, redis_url: str, started: list[Process], number: int
) -> None:
    process = Process(tmp_path, REDIS_URL=redis_url, PORT="0")
    started.append(process)
    base = f"http://127.0.0.1:{process.port()}"
    assert int((tmp_path / "run" / "api.pid").read_text()) == process.child.pid
    with httpx.Client(base_url=base, trust_env=False, timeout=30) as client:
        receipt = client.post(ENDPOINT, json=INPUT).json()
        with client.stream("GET", receipt["status_url"] + "/stream") as stream:
            lines = stream.iter_lines()
            next(lines)
            began = time.monotonic()
            assert process.end(number) == 0
            assert time.monotonic() - began < 8
            assert not [line for line in lines if "COMPLETED" in line]
    assert not (tmp_path / "run" / "api.pid").exists()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"PORT": "eighty"}, "PORT: "),
        ({"HOST": "0.0.0.0"}, "API_KEYS: "),
        ({"STORAGE_URL": "ftp://x"}, "STORAGE_URL: "),
        ({"API_KEYS": "nonsense"}, "API_KEYS: "),
    ],
)
def test_a_wrong_setting_ends_it_with_one_line(
    tmp_path: Path, started: list[Process], environment: dict[str, str], told: str
) -> None:
    process = Process(tmp_path, **environment)
    started.append(process)
    said = process.refusal()
    assert said.startswith(told)
    assert said.count("\n") == 1


def test_it_takes_as_many_connections_as_it_may(tmp_path: Path, redis_url: str, started: list[Process]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = Process(tmp_path, ("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh"), REDIS_URL=redis_url, PORT="0")
    started.append(process)
    process.port()
    assert resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_store_that_is_not_everybodys_ends_it(tmp_path: Path, redis_url: str, started: list[Process]) -> None:
    redis = open_sync(redis_url)
    run_sync(redis, commands.bind_store("somebody else's"))
    redis.close()
    process = Process(tmp_path, REDIS_URL=redis_url, PORT="0")
    started.append(process)
    assert process.refusal().startswith("STORAGE_URL: ")


def test_a_file_that_is_no_certificate_ends_it(tmp_path: Path, started: list[Process]) -> None:
    (tmp_path / "x.pem").write_text("nonsense")
    both = {name: str(tmp_path / "x.pem") for name in ("TLS_CERT_FILE", "TLS_KEY_FILE")}
    process = Process(tmp_path, **both)
    started.append(process)
    assert process.refusal().startswith("TLS_CERT_FILE: ")


def test_it_speaks_tls_and_its_links_say_so(tmp_path: Path, redis_url: str, started: list[Process]) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    process = Process(
        tmp_path,
        REDIS_URL=redis_url,
        PORT="0",
        TLS_CERT_FILE=str(tmp_path / "cert.pem"),
        TLS_KEY_FILE=str(tmp_path / "key.pem"),
    )
    started.append(process)
    base = f"https://localhost:{process.port()}"
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with httpx.Client(verify=trust, trust_env=False) as client:
        receipt = client.post(base + ENDPOINT, json=INPUT).json()
        assert receipt["status_url"].startswith(f"{base}/fal-ai/kolors/requests/")
        assert client.put(receipt["cancel_url"]).status_code == 202
    assert process.end() == 0
