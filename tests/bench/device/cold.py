"""The first picture of a process, and its first fast one."""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.device.bench import Bench
from tests.bench.device.painting import paint
from worker.model.device import name_of

_FIRST: Final = "first pictures"
_AT: Final = "first_image_at"
_LAST: Final = 400
"""Characters."""
_START_S: Final = 20.0
"""Before a process counts its time."""


def cold(bench: Bench) -> None:
    bench.section(_FIRST, 0, partial(_first_pictures, bench))


def _first_pictures(bench: Bench) -> None:
    """One that nothing is ready for, and one when all is; seconds since the model was there."""
    began_s = time.monotonic()
    with bench.runner(bench.best) as runner:
        runner.warm_up({runner.key(bench.scale.side, bench.scale.side, precise=False): 1})
        first = paint(runner, bench.scale.job(1))
        figures = {
            _AT: time.time(),
            "first_image_s": time.monotonic() - began_s,
            "first_took_s": first.seconds,
        }
        bench.sheet.put(_FIRST, figures)
        bench.settle(runner)
        figures["built_s"] = time.monotonic() - began_s
        second = paint(runner, bench.scale.job(2))
        bench.sheet.put(_FIRST, {"way": bench.way(runner), **figures, "then_s": second.seconds})


def start(bench: Bench, name: str, cache: str) -> None:
    """In a process of its own, whose compiler keeps what it made in `cache`: `since_start_s` is what somebody waits for
    its first picture, but for the weights, which are made and not read. Raises `RuntimeError` with the last it said
    when it fails or takes too long."""
    left_s = max(1.0, bench.sheet.left_s)
    with tempfile.TemporaryDirectory() as folder:
        file, said = Path(folder) / "cold.json", Path(folder) / "stderr"
        began_s, began_at = time.monotonic(), time.time()
        try:
            with said.open("w") as stderr:
                subprocess.run(
                    [sys.executable, "-m", "tests.bench.device", *_wanted(bench, left_s - _START_S, file)],
                    env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
                    timeout=left_s,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    check=True,
                )
        except subprocess.SubprocessError as error:
            raise RuntimeError(f"{type(error).__name__}: {said.read_text()[-_LAST:]}") from error
        process_s = time.monotonic() - began_s
        figures = json.loads(file.read_text())["cold"]
    seen = figures[_FIRST]
    if _AT in seen:
        seen["since_start_s"] = seen.pop(_AT) - began_at
    bench.sheet.put(name, {"process_s": process_s, "model_s": figures["model"]["seconds"], **seen})


def _wanted(bench: Bench, seconds: float, file: Path) -> list[str]:
    dtype = name_of(bench.checkpoint.dtype)
    return ["cold", "--model", bench.scale.model, "--dtype", dtype, "--seconds", str(seconds), "--json", str(file)]
