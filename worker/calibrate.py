"""`python -m worker.calibrate`: measures how many pictures of each size may share a step here, and keeps it for the
workers of this DATA_DIR, which read it when they start.

Takes the worker's settings: what is measured holds for this device, version of torch, model and precision. Nothing
else should use the device meanwhile.
"""

import sys

from shared import logs
from shared.errors import OutOfMemory, WrongSetting
from shared.settings import load
from worker.app import FAKE, know_caps, open_runner
from worker.engine.caps import Caps
from worker.settings import WorkerSettings


def main() -> int:
    """Exit status: 0, or 2 where the settings do not allow it."""
    logs.configure("calibrate")
    try:
        known = _measured(load(WorkerSettings))
    except WrongSetting as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 2
    except OutOfMemory:
        print("Not even the smallest picture fits into the memory", file=sys.stderr)  # noqa: T201
        return 2
    if known is not None:
        print(", ".join(f"{name}: {value}" for name, value in known.made_for.items()))  # noqa: T201
        for px, pictures in known.pictures.items():
            print(f"{round(px**0.5)}×{round(px**0.5)}: {pictures} a step")  # noqa: T201
    return 0


def _measured(settings: WorkerSettings) -> Caps | None:
    if settings.kolors_model == FAKE:
        raise WrongSetting("KOLORS_MODEL", "there is nothing to measure in fake")
    return know_caps(settings, open_runner(settings)[0], anew=True)


if __name__ == "__main__":
    sys.exit(main())
