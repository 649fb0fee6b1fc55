"""Everything about a device, in three runs of less than nine minutes.

    python -m tests.bench.device ladder|load|beyond [--seconds 500] [--json FILE] [--model full|tiny] [--dtype float16]

`ladder` takes a picture alone from the stock pipeline's time to this engine's, and starts it cold; `load` paints many
at once; `beyond` does what the engine does only when it is asked. (`cold` is one process's first picture.) The parts'
figures are kept in the file side by side, each beside the stock pipeline's in the same run.

Needs PyTorch and what docs/performance.md says to bring along. Prints each figure when it has it. On a processor it
takes the tiny model, to see that it works; its figures mean nothing there.
"""

import argparse
import logging
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.device.bench import Bench
from tests.bench.device.cold import cold
from tests.bench.device.ladder import beyond, ladder
from tests.bench.device.load import load
from tests.bench.device.model import open_model
from tests.bench.device.painting import FULL, TINY
from tests.bench.device.sheet import Sheet
from worker.model.tuning import Tuning, tuned_for

PARTS = {"ladder": ladder, "load": load, "beyond": beyond, "cold": cold}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", choices=("full", "tiny"))
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    wanted = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = FULL if (wanted.model or ("full" if device.type == "cuda" else "tiny")) == "full" else TINY
    dtype = getattr(torch, wanted.dtype or ("float16" if device.type == "cuda" else "float32"))
    sheet = Sheet(wanted.part, wanted.json, wanted.seconds)
    sheet.put("here", _here(device, dtype, scale.model))
    checkpoint = open_model(scale.model, device, dtype)
    sheet.put("model", {"seconds": time.monotonic() - sheet.began_s})
    bench = Bench(sheet, scale, checkpoint, _best(device))
    PARTS[wanted.part](bench)
    sheet.put("end", {"seconds": time.monotonic() - sheet.began_s})


def _best(device: torch.device) -> Tuning:
    """On a processor all is wired as on a GPU, but compiling would take minutes."""
    best = tuned_for(torch.device("cuda"))
    return best if device.type == "cuda" else replace(best, compile="off")


def _here(device: torch.device, dtype: torch.dtype, model: str) -> dict[str, object]:
    import diffusers
    import transformers

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "card": card,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "dtype": str(dtype),
        "model": model,
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # what was built, and why something was not
    main()
