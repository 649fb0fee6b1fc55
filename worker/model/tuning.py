"""Which ways to paint a picture faster are used; each can be had by itself. All but the lossy two are exact but for
rounding.

What a device can do decides, and a few settings: see `tuned_for`. Their gains and differences are in
docs/performance.md.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from worker.model.device import is_full

_log = logging.getLogger(__name__)

T = TypeVar("T")
Compile = Literal["off", "blocks", "whole"]
Attention = Literal["cudnn", "flash", "efficient", "math"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Nothing of it is used by default: that is the stock pipeline's arithmetic.

    channels_last    convolutions' weights and the latents in the layout that tensor cores want
    fused_qkv        a self-attention's query, key and value by one product instead of three
    prompt_once      cross-attentions' keys and values once for a prompt instead of in each step
    compile          `blocks`: the UNet's repeated blocks, once for all sizes; `whole`: all of it, for each size anew
    compile_mode     of torch.compile, such as max-autotune-no-cudagraphs
    compile_backend  of torch.compile
    graphs           a step as one CUDA graph for each size and number of rows
    stock_steps      whoever is alone is stepped by its diffusers instance, bitwise the stock pipeline's; some of
                     those wait for the device in every step
    lossy_fp8        products of 8 bits in the UNet's transformers: another picture
    lossy_step_cache a request's first step runs the whole UNet, and each so-manyth after it; those between run its
                     outermost level only: another picture, unless it is 1
    """

    channels_last: bool = False
    fused_qkv: bool = False
    prompt_once: bool = False
    compile: Compile = "off"
    compile_mode: str | None = None
    compile_backend: Any = "inductor"
    graphs: bool = False
    stock_steps: bool = True
    lossy_fp8: bool = False
    lossy_step_cache: int = 1

    @property
    def exact(self) -> "Tuning":
        """Without what changes the picture."""
        return replace(self, lossy_fp8=False, lossy_step_cache=1)

    @property
    def ways(self) -> str:
        """What a step's time depends on, in words."""
        built = [f"compiled {self.compile}"] if self.compile != "off" else []
        parts = ("channels_last", "fused_qkv", "prompt_once", "graphs")
        return ", ".join([*built, *(name for name in parts if getattr(self, name)), *filter(None, [self.lossy])])

    @property
    def lossy(self) -> str:
        """What changes the picture, in words; empty where nothing does."""
        cached = f"step cache {self.lossy_step_cache}" if self.lossy_step_cache > 1 else ""
        return ", ".join(filter(None, ("fp8" if self.lossy_fp8 else "", cached)))

    @property
    def builds(self) -> bool:
        """Whether there is anything to build for a shape before it can be called the fast way."""
        return self.graphs or self.compile != "off"


def tuned_for(
    device: torch.device,
    *,
    compile: Compile | None = None,  # noqa: A002 - torch's own word
    graphs: bool | None = None,
    fixed_rows: bool = False,
    lossy_fp8: bool = False,
    lossy_step_cache: int = 1,
) -> Tuning:
    """Everything that pays on this device and is exact; `compile` and `graphs`, where given, decide instead. What is
    lossy as given.

    With fixed rows nothing is compiled: what is compiled rounds otherwise, and takes over in the middle of a picture.
    """
    cuda = device.type == "cuda"
    tuning = Tuning(
        channels_last=cuda,
        fused_qkv=cuda,
        prompt_once=cuda,
        compile=("blocks" if cuda else "off") if compile is None else compile,
        graphs=cuda if graphs is None else graphs and cuda,
        stock_steps=not cuda and not fixed_rows,
        lossy_fp8=lossy_fp8,
        lossy_step_cache=lossy_step_cache,
    )
    return replace(tuning, compile="off") if fixed_rows else tuning


_BACKENDS: Final = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_WITHOUT_CUDNN: Final = ("flash", "efficient", "math")
_HOPPER: Final = (9, 0)
_preferred = ExitStack()
"""Left when another order is preferred."""
_order: tuple[Attention, ...] = ()
_VARIANTS: Final = 64
"""Of one compiled block: the UNet has residual blocks of twelve widths, each once more for a single row."""


def set_flags(device: torch.device, dtype: torch.dtype) -> None:
    """torch's process-wide switches, for a model of this precision. Does nothing on a processor.

    Where weights are in half precision, whatever is left in float32 (a second try after an overflow) may use TF32;
    float32 that was asked for stays float32. Convolutions' kernels are not chosen by timing: each thread would time
    them anew, stop the whole device for each, and give all cached memory back.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = dtype.itemsize == 2
    if torch.cuda.get_device_capability(device) >= _HOPPER:
        prefer_attention(("cudnn", *_WITHOUT_CUDNN))


def keep_compiled(folder: Path, device: str) -> Path:
    """What is compiled from now on is kept there, in a folder for this device and torch, and found again by the next
    process; it is told apart by shapes in there. TORCHINDUCTOR_CACHE_DIR, where it is set, decides instead."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{device} torch {torch.__version__}")
    # The only way to say it: torch reads it from there, and hands it to the processes that compile.
    return Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / name)))  # noqa: TID251


def prefer_attention(order: Sequence[Attention]) -> None:
    """For the whole process: the first of these that can do a call does it. The others are not used.

    What was compiled has the choice inside, and nothing in torch sees that it is another one: it is compiled anew.
    """
    global _order  # noqa: PLW0603 - torch's switches are the process', too
    _preferred.close()
    prefer = cast("Any", sdpa_kernel)
    _preferred.enter_context(prefer([_BACKENDS[name] for name in order], set_priority=True))
    if _order != tuple(order) and "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    _order = tuple(order)


def preferred_attention() -> tuple[Attention, ...]:
    """The order that is preferred; empty for torch's own."""
    return _order


def know_compiler() -> None:
    """Torch's settings for what is compiled; newer versions keep them by thread, so every thread that calls such code
    needs them."""
    import torch._dynamo.config as dynamo  # it takes a second
    from torch.compiler import config
    from torch.fx.experimental import _config as shapes

    shapes.use_duck_shape = False  # a square would be taken for all that has equal sides, and compiled by itself
    dynamo.recompile_limit = max(dynamo.recompile_limit, _VARIANTS)
    cast("Any", config).cache_key_tag = ", ".join(_order)


def surviving_cudnn(call: Callable[[], T]) -> T:
    """Once more, where cuDNN cannot do what it said it could, and from then on without its attention."""
    try:
        return call()
    except RuntimeError as error:
        if "cudnn" not in str(error).lower() or is_full(error):
            raise
        _log.warning("attention goes on without cuDNN: %s", str(error).splitlines()[0])
        prefer_attention(_WITHOUT_CUDNN)
        return call()


def is_compilers(error: Exception) -> bool:
    """Whether it is the compiler that cannot, and not the device that is full or refuses something."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)
