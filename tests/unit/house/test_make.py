"""The commands that the README promises are there, say what they do, and are what CI runs."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROMISED = {"setup", "demo", "serve", "test", "chaos", "lint", "bench", "dev-tls", "clean"}


def make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_every_command():
    listed = set(re.findall(r"^  ([a-z-]+) ", make(), re.MULTILINE))
    assert listed >= PROMISED
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert listed == set(phony[1].split())


def test_the_server_replaces_its_shell():
    """Otherwise make's SIGTERM would end the shell, and leave the system running."""
    recipe = make("--dry-run", "serve").splitlines()[-1]
    assert recipe.startswith("exec ")
    assert "leash.py" in recipe


def test_ci_runs_what_the_readme_names_and_nothing_else():
    script = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines()[1:] if line and not line.startswith("#")]
    started = ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "export CI=true"]
    assert commands == [*started, "make lint", "make audit", "make test", "make chaos"]
    readme = (ROOT / "README.md").read_text()
    for command in ("make lint", "make test", "make chaos", "make demo"):
        assert re.search(rf"^{command} ", readme, re.MULTILINE)


def test_ci_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
