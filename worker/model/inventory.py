"""What lies in the directory of a Kolors checkpoint: which files and tensors, and how much memory those will take.

Reads names and headers only, never the weights, so that a wrong directory is known at once.
"""

import json
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open

Shapes = Mapping[str, tuple[int, ...]]
"""Of tensors, by their names."""
WEIGHTS: Mapping[str, str] = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
"""The parts that have weights, and how their files' names begin."""
UNREAD = "output_layer.weight"
"""The text encoder's guess of the next word, half a gibibyte that nobody asks for: it is not loaded."""
_NEEDED = (
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.model",
    *(f"{part}/config.json" for part in WEIGHTS),
)


def missing(directory: Path) -> str | None:
    """The first thing that a whole checkpoint has and this one has not, as a path inside of it."""
    for needed in _NEEDED:
        part, _, _ = needed.partition("/")
        if not (directory / part).is_dir():
            return f"{part}/"
        if not (directory / needed).is_file():
            return needed
    for part in WEIGHTS:
        if not any((directory / part).glob("*.safetensors")):
            return f"{part}/*.safetensors"
    return None


def half_variant(directory: Path) -> str | None:
    """The name of the copy in half precision, for `from_pretrained`, if the checkpoint has one."""
    return "fp16" if any((directory / "unet").glob("*.fp16*.safetensors")) else None


def shapes(part: Path, variant: str | None) -> Shapes:
    """Of what `from_pretrained` would read: the copy of that precision, in one file or several. OSError, ValueError:
    one of them is not there, or not what its name says."""
    infix = f".{variant}" if variant else ""
    whole = part / f"{WEIGHTS[part.name]}{infix}.safetensors"
    index = part / f"{WEIGHTS[part.name]}.safetensors.index{infix}.json"
    if whole.is_file() or not index.is_file():
        return _header(whole)
    files: Mapping[str, str] | None = read_object(index).get("weight_map")
    if files is None:
        raise ValueError(f"{index.name} has no weight_map")
    return {name: shape for file in sorted(set(files.values())) for name, shape in _header(part / file).items()}


def read_object(file: Path) -> dict[str, Any]:
    """OSError, ValueError: it holds anything but a JSON object."""
    try:
        held: object = json.loads(file.read_text())
    except ValueError:
        held = None
    if isinstance(held, dict):
        return cast("dict[str, Any]", held)
    raise ValueError(f"{file.name} is no JSON object")


def weight_bytes(stored: Mapping[str, Shapes], dtypes: Mapping[str, torch.dtype]) -> dict[str, int]:
    """Of each part, in the precision that it will be loaded in, without `UNREAD`."""
    return {part: _numbers(stored[part]) * dtype.itemsize for part, dtype in dtypes.items()}


def free_bytes(device: torch.device) -> int:
    """Of the device's memory; the processor's is what Linux and the container's limit leave, elsewhere unlimited."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_available_bytes(), container_bytes())


def _numbers(tensors: Shapes) -> int:
    return sum(prod(shape) for name, shape in tensors.items() if name != UNREAD)


def _header(file: Path) -> Shapes:
    """Also of a file that was cut short the header may be whole: `safe_open` compares it with the file's length."""
    if not file.is_file():
        raise ValueError(f"{file.name} is missing")
    try:
        lazy: Any = safe_open(file, framework="pt")
        with lazy as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file.name} is no whole safetensors file: {error}") from error


def _available_bytes() -> int:
    try:
        told = Path("/proc/meminfo").read_text().split("MemAvailable:")[1]
    except (OSError, IndexError):
        return sys.maxsize
    return int(told.split()[0]) * 1024


def container_bytes(group: Path = Path("/sys/fs/cgroup")) -> int:
    """What a control group (version 2) leaves; no limit where there is none. Cached files count as used: they give
    way, so what is called inactive is added."""
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return sys.maxsize
    if limit == "max":
        return sys.maxsize
    return int(limit) - int(used) + int(statistics.get("inactive_file", 0))
