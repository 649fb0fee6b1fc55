"""Finds Kolors, checks that it is whole and fits, and loads it: a built-in one, a directory, or one of the hub.

Everything that can be wrong with it is said before the first request, as `WrongSetting` of the variable to change.
Knows no environment: what it may do comes as `Wanted`.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.errors import Error, WrongSetting
from worker.model import inventory
from worker.model.device import Device, faults_of, name_of, open_device
from worker.model.hub import Hub
from worker.model.libraries import (
    Autoencoder,
    AutoencoderKL,
    ChatGLMEncoder,
    ChatGLMTokenizer,
    TextEncoder,
    Tokenizer,
    UNet,
    UNet2DConditionModel,
    as_loaded,
    empty_text_encoder,
)
from worker.model.random_weights import random_checkpoint
from worker.model.safety import SafetyChecker, open_safety_checker
from worker.model.solver import check_schedule

_log = logging.getLogger(__name__)

_CLASSES: Mapping[str, Any] = {"text_encoder": ChatGLMEncoder, "unet": UNet2DConditionModel, "vae": AutoencoderKL}
_EMPTY: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "text_encoder": empty_text_encoder,
    "unet": UNet2DConditionModel.from_config,
    "vae": AutoencoderKL.from_config,
}
"""Makes the model that a part's configuration describes."""
_Reading = Callable[[str], AbstractContextManager[None]]
"""For a part's name: what is raised inside becomes a `WrongSetting` that names it."""
_DEFAULT_SAFETY_CHECKER = "Falconsai/nsfw_image_detection"
"""For checkpoints that bring none. Kolors' own repository does not."""
_DEVICES = ("cpu", "cuda")
_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """A checkpoint that comes with the product. `find` gives its directory, below the cache where it must be made."""

    remark: str
    find: Callable[[Path], Path]


_BUILT_IN: Mapping[str, _BuiltIn] = {
    "tiny": _BuiltIn(
        "a demonstration of 6 million parameters: it paints simple landscapes, and nothing else well",
        lambda _: Path(__file__).parent / "tiny",
    ),
    "random": _BuiltIn(
        "random weights, to try the system with; its pictures are not to be looked at", random_checkpoint
    ),
}


def built_in(source: str, cache: Path) -> Path:
    """The directory of a checkpoint that comes with the product. Raises KeyError for a name that is none of theirs."""
    return _BUILT_IN[source].find(cache)


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
    """Loads it, which takes from a third of a second (`random`) to minutes. Raises `WrongSetting`, or what `faults_of`
    makes of a device that has no room left or failed."""
    device = _device(wanted)
    dtype = _dtype(wanted, device)
    if wanted.source in _BUILT_IN and device.type == "cpu":
        # Its tensors are too small to share out, and threads that wait for one another are slow beside other work:
        # measured, a step took 20 times as long with two threads on two busy cores.
        torch.set_num_threads(1)
    hub = Hub(wanted.cache, offline=wanted.offline)
    directory = _directory(wanted, hub, half=dtype.itemsize == 2)
    if (gap := inventory.missing(directory)) is not None:
        raise WrongSetting("KOLORS_MODEL", f"{wanted.source} is not a whole Kolors checkpoint: {gap} is missing")
    opened = open_device(device)

    def reading(part: str) -> AbstractContextManager[None]:
        return _reading("KOLORS_MODEL", f"the {part} of {wanted.source}", opened)

    with reading("tokenizer"):
        tokenizer = ChatGLMTokenizer.from_pretrained(directory / "tokenizer", local_files_only=True)
    with reading("scheduler"):
        schedule = inventory.read_object(directory / "scheduler" / "scheduler_config.json")
        check_schedule(schedule)
    return Checkpoint(
        name=wanted.source,
        device=opened,
        dtype=dtype,
        tokenizer=tokenizer,
        **_models(wanted.source, directory, opened.torch, dtype, reading),
        schedule=schedule,
        safety=_safety_checker(wanted, hub, directory, opened),
    )


@contextmanager
def _reading(setting: str, what: str, device: Device) -> Generator[None]:
    """Whatever is raised over something that cannot be read, and libraries raise nearly anything, is that setting's
    fault; only the device's faults are not."""
    try:
        with faults_of(device):
            yield
    except Error:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WrongSetting(setting, f"{what} cannot be loaded: {reason}") from error


def _models(
    source: str, directory: Path, device: torch.device, dtype: torch.dtype, reading: _Reading
) -> dict[str, Any]:
    """By their parts. All of them are looked through before the first is loaded, which may take minutes."""
    # Half as long to read; what was fetched in half precision has nothing else.
    variant = inventory.half_variant(directory) if dtype.itemsize == 2 else None
    with reading("vae"):
        dtypes = {"text_encoder": dtype, "unet": dtype, "vae": _autoencoder_dtype(dtype, device, directory)}
    stored: dict[str, inventory.Shapes] = {}
    for part in dtypes:
        with reading(part):
            stored[part] = inventory.shapes(directory / part, variant)
    _check_memory(source, inventory.weight_bytes(stored, dtypes), device, dtype)
    for part, shapes in stored.items():
        with reading(part):
            _check_whole(part, inventory.read_object(directory / part / "config.json"), shapes)
    models: dict[str, Any] = {}
    for part, kind in dtypes.items():
        with reading(part):
            loaded = _CLASSES[part].from_pretrained(
                directory / part, variant=variant, dtype=kind, device_map={"": device}, local_files_only=True
            )
            models[part] = loaded.eval()
    return models


def _check_whole(part: str, config: Mapping[str, Any], stored: inventory.Shapes) -> None:
    """ValueError: a weight of the described model is not stored, or in another shape. The libraries would go on
    with whatever is in memory, or say less. Buffers may be absent, and there may be more: neither matters."""
    with torch.device("meta"):
        model = _EMPTY[part](config)
    shapes = as_loaded(model, stored)
    needed: dict[str, tuple[int, ...]] = {name: tuple(it.shape) for name, it in model.named_parameters()}
    lost = [name for name in needed if name not in shapes]
    if lost:
        raise ValueError(f"{lost[0]} is missing" + (f", and {len(lost) - 1} more" if len(lost) > 1 else ""))
    for name, shape in needed.items():
        if shapes[name] != shape:
            raise ValueError(f"{name} is {shapes[name]}, and {shape} by config.json")


def _device(wanted: Wanted) -> torch.device:
    if wanted.device == "auto":
        count = torch.cuda.device_count()
        return torch.device("cuda", wanted.index % count) if count else torch.device("cpu")
    try:
        device = torch.device(wanted.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WrongSetting("DEVICE", f"{wanted.device} is not there: {str(error).splitlines()[0]}") from error
    if device.type not in _DEVICES:
        raise WrongSetting("DEVICE", f"{wanted.device} is none of auto, {', '.join(_DEVICES)}, cuda:N")
    return device


def _dtype(wanted: Wanted, device: torch.device) -> torch.dtype:
    """Kolors' weights are published in half precision: float16 on a GPU loses nothing of them."""
    if wanted.dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted.dtype not in _DTYPES:
        raise WrongSetting("DTYPE", f"{wanted.dtype} is none of auto, {', '.join(_DTYPES)}")
    return _DTYPES[wanted.dtype]


def _autoencoder_dtype(dtype: torch.dtype, device: torch.device, directory: Path) -> torch.dtype:
    """Not float16, where the autoencoder's inner values overflow, unless its configuration says that they do not: its
    weights have been mended then. bfloat16 where the device has it, else float32."""
    if dtype is not torch.float16:
        return dtype
    if not inventory.read_object(directory / "vae" / "config.json").get("force_upcast", True):
        return dtype
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _directory(wanted: Wanted, hub: Hub, *, half: bool) -> Path:
    path = Path(wanted.source).expanduser()
    ours = _BUILT_IN.get(wanted.source)
    local = ours is not None or path.is_dir()
    if local and wanted.revision is not None:
        raise WrongSetting("KOLORS_REVISION", f"{wanted.source} has no revisions: only repositories of the hub have")
    if ours is not None:
        _log.warning("KOLORS_MODEL=%s: %s", wanted.source, ours.remark)
        return ours.find(wanted.cache)
    if local:
        return path
    _check_name("KOLORS_MODEL", wanted.source)
    _log.warning("%s: commercial use of Kolors' weights needs a registration with their owner", wanted.source)
    return hub.fetch(wanted.source, setting="KOLORS_MODEL", revision=wanted.revision, half=half)


def _check_name(setting: str, source: str) -> None:
    """That it may be a repository of the hub, `owner/name`, and is no path that was mistyped."""
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise WrongSetting(setting, f"{source}: no such directory, and not the name of a repository")


def _check_memory(source: str, parts: Mapping[str, int], device: torch.device, dtype: torch.dtype) -> None:
    """That the weights fit into the memory that is free. On their way to a GPU they take none of the processor's."""
    need, free = sum(parts.values()), inventory.free_bytes(device)
    said = f"{need / 2**30:.2f} GiB on {device} for its weights in {name_of(dtype)}; {free / 2**30:.2f} GiB are free"
    if need > free:
        raise WrongSetting("KOLORS_MODEL", f"{source} needs {said}")
    _log.info("%s takes %s", source, said)


def _safety_checker(wanted: Wanted, hub: Hub, directory: Path, device: Device) -> SafetyChecker | None:
    source = wanted.safety_checker
    if source == "off":
        return None
    if source == "auto" and (directory / "safety_checker").is_dir():
        place = directory / "safety_checker"
    elif (path := Path(source).expanduser()).is_dir():
        place = path
    else:
        repository = _DEFAULT_SAFETY_CHECKER if source == "auto" else source
        _check_name("SAFETY_CHECKER", repository)
        place = hub.fetch(repository, setting="SAFETY_CHECKER")
    dtype = torch.float16 if device.torch.type == "cuda" else torch.float32
    with _reading("SAFETY_CHECKER", source, device):
        return open_safety_checker(place, device=device.torch, dtype=dtype)
