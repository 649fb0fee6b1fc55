"""Old and new scripts side by side: one worker and one API run another copy of the code, whose Lua has other names."""

import shutil
import signal
from pathlib import Path
from typing import Final

from shared.queue import scripts
from tests.chaos.parts import ROOT
from tests.chaos.scene import PATIENCE_S, Fault, Scene

_OTHERS: Final = ("worker-2", "api-2")
_PACKAGES: Final = ("api", "shared", "worker")
_WITNESSES: Final = ("submit", "claim", "finish", "rescue")
_MARK: Final = "\n-- as the version before wrote it\n"


async def _mixed(scene: Scene) -> None:
    folder = _other_version(scene.stage.folder / "before")
    for verb in scripts.verbs():
        scene.stage.board.know(verb, scripts.load(verb).text + _MARK)
    for name in _OTHERS:
        scene.stage.parts[name].folder = folder
        await _restart(scene, name)
        scene.note("runs other scripts", name)

    async def both_ran() -> bool:
        return all(len(scene.stage.board.spoken_by(verb)) > 1 for verb in _WITNESSES)

    await scene.stage.until(both_ran, "both versions have run", PATIENCE_S)


async def _same_again(scene: Scene) -> None:
    for name in _OTHERS:
        scene.stage.parts[name].folder = ROOT
        await _restart(scene, name)


async def _restart(scene: Scene, name: str) -> None:
    scene.stage.parts[name].signal(signal.SIGTERM)
    await scene.stage.parts[name].ended(PATIENCE_S)


def _other_version(folder: Path) -> Path:
    for package in _PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    for script in (folder / "shared/queue/lua").glob("[!_]*.lua"):
        script.write_text(script.read_text() + _MARK)
    return folder


FAULTS = [
    Fault(
        "two-versions",
        "old and new scripts run side by side",
        _mixed,
        heal=_same_again,
        rounds=1,
        longer=1,
    )
]
