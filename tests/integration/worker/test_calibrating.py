"""Batch caps of a real model: measured by the command, kept, and read by the workers that come after."""

import json
import os
import subprocess
import sys
from pathlib import Path

from worker.app import know_caps, open_runner
from worker.settings import WorkerSettings


def calibrate(folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "DEVICE": "cpu", "MAX_PIXELS": "65536", **more}
    command = [sys.executable, "-m", "worker.calibrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_what_the_command_measured_is_what_a_worker_goes_by(tmp_path: Path) -> None:
    ended = calibrate(tmp_path, KOLORS_MODEL="random")
    assert ended.returncode == 0, ended.stderr
    assert "256×256: " in ended.stdout
    [file] = (tmp_path / "caps").iterdir()
    content = json.loads(file.read_text())
    content["pictures"]["65536"] = 7  # what was measured here depends on the machine
    file.write_text(json.dumps(content))
    settings = WorkerSettings(data_dir=tmp_path, kolors_model="random", device="cpu")
    runner, _ = open_runner(settings)
    assert know_caps(settings, runner) is not None
    assert runner.slots(runner.key(256, 256, precise=False)) == 7
    assert runner.slots(runner.key(64, 64, precise=False)) == 7
    assert runner.slots(runner.key(512, 512, precise=False)) == 1
    other, _ = open_runner(settings.model_copy(update={"fixed_rows": 8}))
    assert know_caps(settings, other) is None, "measured for calls of another shape"


def test_there_is_nothing_to_measure_in_fake(tmp_path: Path) -> None:
    ended = calibrate(tmp_path, KOLORS_MODEL="fake")
    assert (ended.returncode, ended.stderr.split(":")[0]) == (2, "KOLORS_MODEL")
