"""`make serve` and `make demo` as a user types them, their processes seen from outside."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.acceptance.harness.server import ROOT
from tests.acceptance.harness.waiting import until

START_S = 90
STOP_S = 60


@dataclass(frozen=True)
class Making:
    """A running `make serve`."""

    process: "subprocess.Popen[bytes]"
    data_dir: Path
    output_file: Path

    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    def url(self) -> str | None:
        """Once it has said that it is ready."""
        found = re.search(r"Ready: (http\S+)", self.output())
        return found[1] if found else None

    def pids(self) -> dict[str, int]:
        """By the names of the pid files."""
        found: dict[str, int] = {}
        for file in (self.data_dir / "run").glob("*.pid"):
            text = file.read_text().strip() if file.exists() else ""
            if text.isdecimal():
                found[file.stem] = int(text)
        return found


@contextmanager
def serving(folder: Path, **settings: str) -> Generator[Making]:
    data_dir = folder / "data"
    words = [f"{name}={value}" for name, value in {"PORT": "0", "DATA_DIR": str(data_dir), **settings}.items()]
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["make", "serve", *words],
            cwd=ROOT,
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    making = Making(process, data_dir, output)
    try:
        yield making
    finally:
        pids = {*making.pids().values(), process.pid}
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def environment() -> dict[str, str]:
    """Ours, without what a make around this run would tell this one."""
    mine = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS", "REDIS_URL", "STORAGE_URL", "API_KEYS", "SETUP_BEGAN")
    return {name: value for name, value in os.environ.items() if name not in mine}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(making: Making, pids: dict[str, int]) -> None:
    def all_gone() -> bool:
        return not any(alive(pid) for pid in pids.values())

    until(all_gone, within_s=STOP_S, what=f"{pids} have ended\n{making.output()}")


def ready(making: Making) -> str:
    def said() -> str | None:
        assert making.process.poll() is None, making.output()
        return making.url()

    return until(said, within_s=START_S, what=f"`make serve` is ready\n{making.output()}")


def test_serve_runs_until_it_is_asked_to_stop(tmp_path: Path):
    with serving(tmp_path, KOLORS_MODEL="fake", WORKERS="2") as making:
        url = ready(making)
        assert httpx.get(f"{url}/ready").status_code == 200

        def both() -> bool:
            return {"redis", "api", "courier", "worker-1", "worker-2"} <= set(making.pids())

        until(both, within_s=START_S, what="every process has written its pid")
        before = making.pids()
        assert all(alive(pid) for pid in before.values())

        os.kill(before["worker-1"], signal.SIGKILL)
        until(
            lambda: making.pids().get("worker-1", before["worker-1"]) != before["worker-1"],
            within_s=START_S,
            what="a new worker has taken the place of the dead one",
        )

        running = making.pids()
        making.process.send_signal(signal.SIGTERM)
        making.process.wait(timeout=STOP_S)
        gone(making, running)
        assert "All stopped." in making.output()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_nothing_outlives_a_make_that_is_killed(tmp_path: Path):
    with serving(tmp_path, KOLORS_MODEL="fake") as making:
        ready(making)
        running = making.pids()
        making.process.kill()
        making.process.wait(timeout=STOP_S)
        gone(making, running)


def test_a_wrong_setting_stops_the_start_with_its_name(tmp_path: Path):
    with serving(tmp_path, KOLORS_MODEL="fake", MAX_PIXELS="many") as making:
        assert making.process.wait(timeout=START_S) == 2
        assert re.search(r"cannot start with these settings. MAX_PIXELS: ", making.output())


def test_the_demo_ends_with_a_picture(tmp_path: Path):
    mine = tmp_path / "mine.png"
    Image.new("RGB", (96, 64), "teal").save(mine)
    out = tmp_path / "out"
    words = [f"IMAGE={mine}", f"OUT={out}", f"DATA_DIR={tmp_path / 'data'}", "KOLORS_MODEL=tiny", "STEPS=4", "SEED=7"]

    done = subprocess.run(
        ["make", "demo", *words], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=110, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = out.glob("*-result.png")
    (given,) = out.glob("*-input.png")
    (both,) = out.glob("*-both.png")
    assert given.read_bytes() == mine.read_bytes()
    with Image.open(result) as picture, Image.open(both) as comparison:
        assert picture.size == (96, 64)
        assert comparison.size == (96 + 8 + 96, 64)
    assert str(result) in done.stdout
    for stage in ("set up", "start", "in the queue", "being worked on", "· inference", "fetch result", "total"):
        assert re.search(rf"^ *{stage} +[\d.]+ s$", done.stdout, re.MULTILINE), done.stdout
    assert "demonstration model" in done.stdout
    shutil.rmtree(out)
