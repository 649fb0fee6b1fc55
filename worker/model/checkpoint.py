"""Finds Kolors, checks that it is whole and fits, and loads it: `tiny`, a directory, or a repository of the hub.

Everything that can be wrong with it is said before the first request, as `WrongSetting` of the variable to change.
Knows no environment: what it may do comes as `Wanted`.
"""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError

from shared.errors import WrongSetting
from worker.model.device import Device, open_device
from worker.model.libraries import (
    Autoencoder,
    AutoencoderKL,
    ChatGLMModel,
    ChatGLMTokenizer,
    TextEncoder,
    Tokenizer,
    UNet,
    UNet2DConditionModel,
)
from worker.model.safety import SafetyChecker, open_safety_checker
from worker.model.tiny import tiny_checkpoint

_log = logging.getLogger(__name__)

_PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
_DEFAULT_SAFETY_CHECKER = "Falconsai/nsfw_image_detection"
"""For checkpoints that bring none. Kolors' own repository does not."""
_LONGEST_HEADER_BYTES = 100_000_000
_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """`source`, `device`, `dtype` and `safety_checker` are the settings of those names: see `worker.settings`.

    `index` chooses the GPU where `device` is `auto`; `offline` takes only what was downloaded before.
    """

    source: str
    cache: Path
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    safety_checker: str = "auto"
    index: int = 0
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The parts of one Kolors, on their device. `schedule` is the configuration that every solver is built on."""

    name: str
    device: Device
    dtype: torch.dtype
    tokenizer: Tokenizer
    text_encoder: TextEncoder
    unet: UNet
    vae: Autoencoder
    schedule: Mapping[str, object]
    safety: SafetyChecker | None


def open_checkpoint(wanted: Wanted) -> Checkpoint:
    """Loads it, which takes from a third of a second (`tiny`) to minutes. Raises `WrongSetting`."""
    device = _device(wanted)
    dtype = _dtype(wanted, device)
    if wanted.source == "tiny" and device.type == "cpu":
        # Its tensors are too small to share out, and threads that wait for one another are slow beside other work:
        # measured, a step took 20 times as long with two threads on two busy cores.
        torch.set_num_threads(1)
    directory = _directory(wanted, half=dtype.itemsize == 2)
    half = "fp16" if dtype.itemsize == 2 and any((directory / "unet").glob("*.fp16*.safetensors")) else None
    from_here: dict[str, Any] = {"local_files_only": True, "dtype": dtype}
    try:
        _check(wanted, directory, device, dtype)
        return Checkpoint(
            name=wanted.source,
            device=open_device(device),
            dtype=dtype,
            tokenizer=ChatGLMTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True),
            text_encoder=ChatGLMModel.from_pretrained(directory / "text_encoder", variant=half, **from_here)
            .eval()
            .to(device),
            unet=UNet2DConditionModel.from_pretrained(directory / "unet", variant=half, **from_here).eval().to(device),
            vae=AutoencoderKL.from_pretrained(
                directory / "vae", variant=half, **{**from_here, "dtype": _autoencoder_dtype(dtype, device)}
            )
            .eval()
            .to(device),
            schedule=json.loads((directory / "scheduler" / "scheduler_config.json").read_text()),
            safety=_safety_checker(wanted, directory, device),
        )
    except (OSError, ValueError, KeyError) as error:
        raise WrongSetting("KOLORS_MODEL", f"{wanted.source} cannot be loaded: {error}") from error


def _device(wanted: Wanted) -> torch.device:
    if wanted.device == "auto":
        count = torch.cuda.device_count()
        return torch.device("cuda", wanted.index % count) if count else torch.device("cpu")
    try:
        device = torch.device(wanted.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WrongSetting("DEVICE", f"{wanted.device} is not there: {str(error).splitlines()[0]}") from error
    return device


def _dtype(wanted: Wanted, device: torch.device) -> torch.dtype:
    """Kolors' weights are published in half precision: float16 on a GPU loses nothing of them."""
    if wanted.dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted.dtype not in _DTYPES:
        raise WrongSetting("DTYPE", f"{wanted.dtype} is none of auto, {', '.join(_DTYPES)}")
    return _DTYPES[wanted.dtype]


def _autoencoder_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Never float16: the autoencoder's inner values overflow there. bfloat16 where the device has it, else float32."""
    if dtype is not torch.float16:
        return dtype
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _directory(wanted: Wanted, *, half: bool) -> Path:
    if wanted.source == "tiny":
        _log.warning("KOLORS_MODEL=tiny: random weights, to try the system with; its pictures are not to be looked at")
        return tiny_checkpoint(wanted.cache)
    path = Path(wanted.source).expanduser()
    if path.is_dir():
        return path
    if wanted.source.startswith((".", "/", "~")) or wanted.source.count("/") != 1:
        raise WrongSetting("KOLORS_MODEL", f"{wanted.source}: no such directory, and not the name of a repository")
    _log.warning("%s: commercial use of Kolors' weights needs a registration with their owner", wanted.source)
    return _download(wanted.source, wanted, setting="KOLORS_MODEL", half=half)


def _download(repository: str, wanted: Wanted, *, setting: str, half: bool) -> Path:
    """Takes the half-precision files where they are wanted and there; else all safetensors."""
    small = ["*.json", "*.model", "*.txt"]
    revision = wanted.revision if setting == "KOLORS_MODEL" else None
    found = Path()
    try:
        for weights in (["*fp16*.safetensors"] if half else []), ["*.safetensors"]:
            found = Path(
                huggingface_hub.snapshot_download(  # pyright: ignore[reportUnknownMemberType]
                    repository,
                    revision=revision,
                    cache_dir=wanted.cache,
                    local_files_only=wanted.offline,
                    allow_patterns=[*small, *weights],
                )
            )
            if any(found.glob("**/*.safetensors")):
                break
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = "not downloaded yet, and this worker is offline" if wanted.offline else str(error).splitlines()[0]
        raise WrongSetting(setting, f"{repository} cannot be fetched: {reason}") from error
    return found


def _check(wanted: Wanted, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
    """That every part is there, and that the weights fit into the memory that is free."""
    for part in _PARTS:
        if not any((directory / part).glob("*")):
            raise WrongSetting("KOLORS_MODEL", f"{wanted.source} is not a whole Kolors checkpoint: {part}/ is missing")
    need = sum(_parameters(directory / part) for part in ("text_encoder", "unet", "vae")) * dtype.itemsize
    if not need:
        raise WrongSetting("KOLORS_MODEL", f"{wanted.source} has no weights in safetensors files")
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _available_bytes()
    said = f"{need / 2**30:.2f} GiB for its weights in {dtype}; {free / 2**30:.2f} GiB are free on {device}"
    if need > free:
        raise WrongSetting("KOLORS_MODEL", f"{wanted.source} needs {said}")
    _log.info("%s takes %s", wanted.source, said)


def _parameters(part: Path) -> int:
    """Numbers in a part's weights, from the headers of its safetensors files. One precision's, where there are two."""
    files = sorted(part.glob("*.safetensors"))
    half = [file for file in files if ".fp16" in file.name]
    return sum(_numbers(file) for file in (half or files))


def _numbers(file: Path) -> int:
    """A safetensors file begins with the length of its JSON header, which tells every tensor's shape. ValueError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _LONGEST_HEADER_BYTES:
            raise ValueError(f"{file.name} is no safetensors file")
        header: dict[str, dict[str, Any]] = json.loads(opened.read(length))
    return sum(_product(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _product(sides: Iterable[int]) -> int:
    product = 1
    for side in sides:
        product *= side
    return product


def _available_bytes() -> int:
    """Linux tells; elsewhere anything goes."""
    try:
        told = Path("/proc/meminfo").read_text().split("MemAvailable:")[1]
    except (OSError, IndexError):
        return sys.maxsize
    return int(told.split()[0]) * 1024


def _safety_checker(wanted: Wanted, directory: Path, device: torch.device) -> SafetyChecker | None:
    source = wanted.safety_checker
    if source == "off":
        return None
    if source == "auto" and (directory / "safety_checker").is_dir():
        place = directory / "safety_checker"
    elif (path := Path(source).expanduser()).is_dir():
        place = path
    else:
        repository = _DEFAULT_SAFETY_CHECKER if source == "auto" else source
        place = _download(repository, wanted, setting="SAFETY_CHECKER", half=False)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    try:
        return open_safety_checker(place, device=device, dtype=dtype)
    except (OSError, ValueError) as error:
        raise WrongSetting("SAFETY_CHECKER", f"{source} cannot be loaded: {error}") from error
