"""The supervisor in the foreground, with real programs: who is started again, what ends everything, who is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.leash import leash
from deploy.local.programs import READY, ROOT, Program, configuration
from deploy.local.settings import read
from tests.acceptance.harness.waiting import until

RUN = """
import sys, json
from pathlib import Path
from deploy.local.foreground import run
sys.exit(run(Path(sys.argv[1]), json.loads(sys.argv[2])))
"""
STAY = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up", flush=True)
signal.sigwait([signal.SIGTERM])
print("down", flush=True)
"""
DEADLINE_S = 20


class System:
    """Programs, each a few lines of Python, under a foreground supervisor of their own."""

    def __init__(self, folder: Path, **scripts: str) -> None:
        self.folder = folder
        settings = read({"DATA_DIR": str(folder)})
        settings.run_dir.mkdir(parents=True)
        settings.log_dir.mkdir()
        listed = [
            Program(name, (sys.executable, _script(folder, name, script)), index, 5, once=name == READY)
            for index, (name, script) in enumerate(scripts.items())
        ]
        file = settings.run_dir / "supervisor.conf"
        file.write_text(configuration(settings, listed))
        self._output = (folder / "output").open("w+")
        command = [sys.executable, "-c", RUN, str(file), json.dumps(list(scripts))]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT)

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def pids(self, name: str) -> list[int]:
        """Of every start of the program."""
        file = self.folder / name
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def until(self, reached: Callable[[], object]) -> None:
        def reached_or_ended() -> bool:
            assert self.process.poll() is None or reached(), self.output()
            return bool(reached())

        until(reached_or_ended, within_s=DEADLINE_S, what="the programs are so far", pause_s=0.02)

    def status(self) -> int:
        return self.process.wait(timeout=DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()


@contextmanager
def system(folder: Path, **scripts: str) -> Generator[System]:
    running = System(folder, **scripts)
    try:
        yield running
    finally:
        running.close()


def _script(folder: Path, name: str, text: str) -> str:
    """A program that notes its pid before anything else."""
    file = folder / f"{name}.py"
    file.write_text(f"import os\nwith open({str(folder / name)!r}, 'a') as f: f.write(f'{{os.getpid()}}\\n')\n{text}\n")
    return str(file)


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended but was not looked at does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_output_is_shown_behind_its_programs_name(tmp_path: Path):
    with system(tmp_path, api=STAY, worker="print('hello\\nthere', flush=True)\n" + STAY) as running:
        running.until(lambda: "worker | there" in running.output() and "api    | up" in running.output())
        assert "worker | hello\n" in running.output()


def test_a_program_that_dies_is_started_again(tmp_path: Path):
    with system(tmp_path, worker=STAY, ready="pass") as running:
        for starts in (1, 2, 3):
            running.until(lambda starts=starts: running.output().count("| up\n") == starts)
            os.kill(running.pids("worker")[-1], signal.SIGKILL)
        running.until(lambda: len(running.pids("worker")) == 4)
        assert "starting it again" in running.output()
        assert running.process.poll() is None


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_leaves_nobody(tmp_path: Path, asked: signal.Signals):
    with system(tmp_path, redis=STAY, api=STAY, worker=STAY) as running:
        running.until(lambda: running.output().count("| up\n") == 3)
        running.process.send_signal(asked)
        assert running.status() == 0
        stopped = [line.split(" ")[0] for line in running.output().splitlines() if line.endswith("| down")]
        assert stopped == ["worker", "api", "redis"]
        assert not any(alive(pid) for name in ("redis", "api", "worker") for pid in running.pids(name))


def test_a_program_that_ignores_the_request_to_stop_is_killed(tmp_path: Path):
    deaf = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n"
        + "signal.pause()\n" * 9
    )
    with system(tmp_path, worker=deaf) as running:
        running.until(lambda: "| up\n" in running.output())
        running.process.terminate()
        assert running.status() == 0
        assert not alive(running.pids("worker")[0])


def test_wrong_settings_end_everything_with_the_programs_own_words(tmp_path: Path):
    refuses = "import sys; print('PUBLIC_URL: expected an address', file=sys.stderr); sys.exit(2)"
    with system(tmp_path, redis=STAY, api=refuses) as running:
        assert running.status() == 2
        assert len(running.pids("api")) == 1
        last = running.output().splitlines()[-1]
        assert last == "api cannot start with these settings. PUBLIC_URL: expected an address"
        assert not alive(running.pids("redis")[0])


def test_a_program_that_never_comes_up_ends_everything(tmp_path: Path):
    with system(tmp_path, redis=STAY, api="raise SystemExit('no module named api')") as running:
        assert running.status() == 1
        assert len(running.pids("api")) == 5
        assert running.output().splitlines()[-1] == "api does not start; its last words: no module named api"


def test_a_program_that_dies_often_is_still_started_once_the_system_was_ready(tmp_path: Path):
    waits = f"import os\nwhile not os.path.exists({str(tmp_path / 'go')!r}): os.sched_yield()\nraise SystemExit(1)"
    with system(tmp_path, worker=waits, ready="print('Ready', flush=True)") as running:
        running.until(lambda: "| Ready" in running.output() and not alive(running.pids(READY)[0]))
        (tmp_path / "go").touch()
        running.until(lambda: len(running.pids("worker")) > 7)
        assert running.process.poll() is None


@pytest.mark.skipif(
    sys.platform != "linux", reason="needs Linux: elsewhere nobody ends the children of a killed parent"
)
def test_programs_end_when_their_supervisor_is_killed(tmp_path: Path):
    with system(tmp_path, redis=STAY, worker=STAY) as running:
        running.until(lambda: running.output().count("| up\n") == 2)
        running.process.kill()
        running.status()
        pids = running.pids("redis") + running.pids("worker")
        until(lambda: not any(alive(pid) for pid in pids), within_s=DEADLINE_S, what="the programs have ended")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_the_leash_is_on_the_program_itself():
    """prctl(PR_GET_PDEATHSIG) of a process that put itself on the leash."""
    script = (
        "import ctypes, sys; sys.path.insert(0, '.'); from deploy.local.leash import leash; leash()\n"
        "told = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(told)); print(told.value)"
    )
    asked = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(asked.stdout) == signal.SIGTERM
    assert callable(leash)
