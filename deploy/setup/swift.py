"""The S3 server of the tests, OpenStack Swift, in an environment of its own: it pins packages that we use, too."""

import sys
from pathlib import Path

from deploy.setup.commands import make_venv, pip_install, run
from deploy.setup.progress import Bar

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "swift-requirements.txt"
VENV = ROOT / ".venv-swift"
PACKAGES = 35
"""About as many are installed; only the bar needs to know."""


def inputs() -> str:
    return f"{sys.version}\n{REQUIREMENTS.read_text()}\n{(VENV / 'bin' / 'swift-proxy-server').is_file()}"


def install(bar: Bar) -> None:
    """Raises `SetupFailed`."""
    make_venv(VENV)
    run(
        pip_install("--progress-bar", "off", "-r", str(REQUIREMENTS), python=VENV / "bin" / "python"),
        bar,
        advice="The S3 server is needed by some tests only: make test ARGS=tests/unit goes without it.",
        expected_lines=PACKAGES,
    )
