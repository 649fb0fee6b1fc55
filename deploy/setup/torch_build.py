"""Which build of torch is installed: the small CPU one, or the CUDA one where there is an NVIDIA GPU.

Owns the pinned version and the guard against gigabytes of CUDA libraries on a machine that cannot use them.
`TORCH=cpu` or `TORCH=cuda` overrides the choice.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Any, cast

from deploy.setup.commands import pip_install, run
from deploy.setup.progress import Bar, SetupFailed

VERSION = "2.13.0"
REQUIREMENT = f"torch=={VERSION}"
CPU_INDEX = ["--extra-index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "5"]


def wanted() -> str:
    """`cuda` where an NVIDIA driver is installed, else `cpu`."""
    choice = os.environ.get("TORCH", "")
    if choice in ("cpu", "cuda"):
        return choice
    if choice:
        raise SetupFailed(f"TORCH={choice} is not known", "Use TORCH=cpu or TORCH=cuda, or leave it out.")
    return "cuda" if shutil.which("nvidia-smi") else "cpu"


def install(build: str, bar: Bar) -> None:
    """Installs torch, after having looked at what pip would take. Raises `SetupFailed`."""
    bar.at(0.02, "asking pip what it would take")
    options = [] if build == "cuda" else CPU_INDEX
    env = dict(os.environ)
    plan = _plan(options, env)
    if build == "cuda" and _is_cpu_build(plan):
        env["PIP_FIND_LINKS"] = ""
        plan = _plan(options, env)
    if build == "cpu":
        refuse_cuda(plan)
    advice = f"Install it yourself with `{_by_hand(options)}` to see what is wrong, then run the same command again."
    run([*pip_install(REQUIREMENT), *options], bar, advice=advice, expected_lines=len(plan) + 1, env=env)


def refuse_cuda(plan: dict[str, str]) -> None:
    """Stops where the plan for a CPU machine holds CUDA libraries: about 3 GB that nothing here could use."""
    cuda = sorted(name for name in plan if name.startswith(("nvidia-", "cuda-")) or name == "triton")
    if cuda:
        raise SetupFailed(
            f"pip would take {len(cuda)} CUDA packages ({', '.join(cuda[:3])}, …), but this machine has no NVIDIA GPU",
            "The index of torch's CPU builds was not reachable. Try again with a network that reaches\n"
            f"{CPU_INDEX[1]}, or put a CPU wheel of torch {VERSION} into a folder and name it\n"
            "in PIP_FIND_LINKS. To take the CUDA packages in spite of it: make setup TORCH=cuda",
        )


def _plan(options: list[str], env: dict[str, str]) -> dict[str, str]:
    """What pip would install: names and versions."""
    command = [*pip_install("--dry-run", "--quiet", "--report", "-", REQUIREMENT), *options]
    asked = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if asked.returncode:
        tail = "\n".join(asked.stderr.strip().splitlines()[-8:])
        raise SetupFailed(
            f"pip finds no torch {VERSION} for Python {sys.version.split()[0]} on this machine",
            "Check the network. torch has wheels for CPython 3.11 to 3.14 on Linux and macOS (Apple silicon);\n"
            "with another Python: make clean, then make setup PYTHON=python3.12",
            tail,
        )
    report = cast("dict[str, Any]", json.loads(asked.stdout))
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in report["install"]}


def _is_cpu_build(plan: dict[str, str]) -> bool:
    return plan.get("torch", "").endswith("+cpu")


def _by_hand(options: list[str]) -> str:
    return " ".join([".venv/bin/pip install", REQUIREMENT, *options[:2]])
