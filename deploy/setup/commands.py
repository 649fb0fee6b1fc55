"""Runs the programs that set-up needs and shows how far they are. Knows pip's output, nothing of what it installs."""

import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.setup.progress import Bar, SetupFailed

TAIL_LINES = 15
OFFLINE_SIGNS = (
    "Connection",
    "connection",
    "Temporary failure in name resolution",
    "timed out",
    "ETIMEDOUT",
    "ENOTFOUND",
)


def run(
    command: Sequence[str],
    bar: Bar,
    *,
    advice: str,
    expected_lines: int = 0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Runs `command` to its end; raises `SetupFailed` with its last lines where it fails.

    `expected_lines` is about how many lines of interest it prints, which moves the bar; 0 leaves it unmoved.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    seen = 0
    with subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=cwd, env=env
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            tail.append(line.rstrip())
            told = _telling(line)
            if told:
                seen += 1
                bar.at(0.95 * seen / max(expected_lines, seen), told)
    if child.returncode:
        raise SetupFailed(f"`{_short(command)}` failed", _advice(tail, advice), "\n".join(tail))


def pip_install(*arguments: str, python: Path | str = sys.executable) -> list[str]:
    """By the pip of `python`, without questions. Nothing is compiled to bytecode: Python does that by itself with the
    part that is imported, which is the smaller one."""
    quietly = ("--no-input", "--disable-pip-version-check")
    return [str(python), "-m", "pip", *quietly, "install", "--no-compile", *arguments]


def make_venv(place: Path) -> None:
    """A new virtual environment, made by the Python that runs this, instead of what was there. Raises `SetupFailed`."""
    if place.is_symlink():  # `venv --clear` would empty what it leads to
        raise SetupFailed(f"{place} leads to {place.resolve()}, which is no virtual environment", "Remove the link.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", place], capture_output=True, text=True, check=False)
    if made.returncode:
        raise SetupFailed(
            f"{sys.executable} cannot make a virtual environment",
            "On Debian and Ubuntu: apt install python3-venv. Or name another Python: make setup PYTHON=…",
            (made.stdout + made.stderr).strip(),
        )


def _telling(line: str) -> str:
    """What a line of pip, npm or a compiler says about progress; empty where it says nothing."""
    words = line.split()
    if not words:
        return ""
    if words[0] == "Collecting" and len(words) > 1:
        return f"collecting {words[1].split('==')[0]}"
    if words[0] == "Installing" or line.lstrip().startswith("Building"):
        return " ".join(words[:2]).lower()
    return ""


def _short(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:8]]) + (" …" if len(command) > 8 else "")


def _advice(tail: Sequence[str], advice: str) -> str:
    text = "\n".join(tail)
    if "No space left" in text:
        return "The disk is full: make room and run the same command again."
    if any(sign in text for sign in OFFLINE_SIGNS):
        return "The package index could not be reached: check the network (or pip's index settings) and run it again."
    return advice
