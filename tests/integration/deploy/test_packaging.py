"""The wheel that the images install holds everything that the packages read, not only their Python files."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from deploy.local.programs import ROOT

PACKAGES = ("api", "shared", "worker")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_wheel_is_whole(tmp_path: Path):
    """Built from a copy of the tracked files, as the images build it."""
    source = tmp_path / "source"
    for name in tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in tracked() if name.split("/")[0] in PACKAGES and name not in inside]
    assert missing == []
