"""What each process loads when it starts: the contracts between packages, seen from outside."""

import json
import subprocess
import sys

import pytest

from deploy.local.programs import ROOT

SHOW = "import sys, json; {}; print(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that are in memory after `statement`."""
    command = [sys.executable, "-c", SHOW.format(statement)]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 0, asked.stderr
    return set(json.loads(asked.stdout.splitlines()[-1]))


@pytest.mark.parametrize("forbidden", ["torch", "diffusers", "transformers", "celery", "kombu", "worker", "numpy"])
def test_the_api_knows_nothing_of_the_worker(forbidden: str):
    loaded = loaded_by("import api.__main__")
    assert "api" in loaded
    assert "redis" in loaded
    assert forbidden not in loaded


@pytest.mark.parametrize("forbidden", ["torch", "diffusers", "transformers", "celery", "api"])
def test_the_courier_needs_no_model(forbidden: str):
    loaded = loaded_by("import worker.courier")
    assert "worker" in loaded
    assert forbidden not in loaded


def test_a_worker_without_a_model_needs_no_torch():
    loaded = loaded_by("import worker.app")
    assert "celery" in loaded
    assert "torch" not in loaded
