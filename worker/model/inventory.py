"""What lies in the directory of a Kolors checkpoint: whether it is whole, and how much memory its weights will take.

Reads names and headers only, never the weights, so that a wrong directory is known at once.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch

WEIGHTS = ("text_encoder", "unet", "vae")
UNREAD = "output_layer.weight"
"""The text encoder's guess of the next word, half a gibibyte that nobody asks for: it is not loaded."""
_NEEDED = (
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.model",
    *(f"{part}/config.json" for part in WEIGHTS),
)
_LONGEST_HEADER_BYTES = 100_000_000


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
        for shard in _shards(directory / part):
            if not (directory / part / shard).is_file():
                return f"{part}/{shard}"
    return None


def half_variant(directory: Path) -> str | None:
    """The name of the copy in half precision, for `from_pretrained`, if the checkpoint has one."""
    return "fp16" if any((directory / "unet").glob("*.fp16*.safetensors")) else None


def weight_bytes(directory: Path, dtypes: Mapping[str, torch.dtype]) -> dict[str, int]:
    """Of each part, in the precision that it will be loaded in, without `UNREAD`. ValueError: a file is not what its
    name says."""
    return {part: _numbers(directory / part) * dtype.itemsize for part, dtype in dtypes.items()}


def free_bytes(device: torch.device) -> int:
    """Of the device's memory; the processor's is what Linux and the container's limit leave, elsewhere unlimited."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_available_bytes(), container_bytes())


def _shards(part: Path) -> Iterator[str]:
    """What the part's own lists name, but for lists of which nothing is here: those are of another precision."""
    for index in sorted(part.glob("*.safetensors.index*.json")):
        shards: Sequence[str] = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if any((part / shard).is_file() for shard in shards):
            yield from shards


def _numbers(part: Path) -> int:
    """Weights of a part. Of one precision, where there are two."""
    files = sorted(part.glob("*.safetensors"))
    half = [file for file in files if ".fp16" in file.name]
    return sum(_count(file) for file in (half or files))


def _count(file: Path) -> int:
    """A safetensors file begins with the length of its JSON header, which tells every tensor's shape. ValueError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _LONGEST_HEADER_BYTES:
            raise ValueError(f"{file.name} is no safetensors file")
        header: dict[str, dict[str, Any]] = json.loads(opened.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name not in ("__metadata__", UNREAD))


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
