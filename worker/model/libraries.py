"""The classes of diffusers and transformers that Kolors is made of: the one place that imports them.

Both libraries are typed in part only. Here their classes become `Any` constructors, and what comes out of them is
named by the protocols below, which say exactly what this product uses.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateImportUsage=false
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

with warnings.catch_warnings():
    # diffusers' copy of ChatGLM is decorated with torch.jit.script, which torch 2.13 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    # Their notes are for people who call them by hand: torchvision not found, progress bars of files, meant casts.
    from transformers.utils import logging as _transformers_logging

    _transformers_logging.set_verbosity_error()
    _transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as _diffusers_logging

    _diffusers_logging.set_verbosity_error()
    _diffusers_logging.disable_progress_bar()

    import diffusers
    import transformers
    from diffusers.models.attention_processor import Attention as _Attention
    from diffusers.models.attention_processor import FusedAttnProcessor2_0 as _FusedAttnProcessor2_0
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig as _ChatGLMConfig
    from diffusers.pipelines.kolors.text_encoder import ChatGLMModel as _ChatGLMModel
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer as _ChatGLMTokenizer
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker as _SafetyChecker

    AutoencoderKL: Any = diffusers.AutoencoderKL
    KolorsImg2ImgPipeline: Any = diffusers.KolorsImg2ImgPipeline
    UNet2DConditionModel: Any = diffusers.UNet2DConditionModel
    EulerDiscreteScheduler: Any = diffusers.EulerDiscreteScheduler
    EulerAncestralDiscreteScheduler: Any = diffusers.EulerAncestralDiscreteScheduler
    DPMSolverMultistepScheduler: Any = diffusers.DPMSolverMultistepScheduler
    UniPCMultistepScheduler: Any = diffusers.UniPCMultistepScheduler
    DEISMultistepScheduler: Any = diffusers.DEISMultistepScheduler
    AutoImageProcessor: Any = transformers.AutoImageProcessor
    AutoModelForImageClassification: Any = transformers.AutoModelForImageClassification
    CLIPConfig: Any = transformers.CLIPConfig
    CLIPImageProcessor: Any = transformers.CLIPImageProcessor

Attention: Any = _Attention
FusedAttnProcessor2_0: Any = _FusedAttnProcessor2_0
ChatGLMConfig: Any = _ChatGLMConfig
ChatGLMModel: Any = _ChatGLMModel
ChatGLMTokenizer: Any = _ChatGLMTokenizer


class _EncoderOnly(_ChatGLMModel):
    """Without the layer that would say the next word. Nobody asks it, and it would take half a gibibyte."""

    _keys_to_ignore_on_load_unexpected = ["output_layer.weight"]  # noqa: RUF012 - as transformers wants it

    def __init__(self, config: Any) -> None:
        super().__init__(config, empty_init=False)  # or it takes the processor's memory, wherever it should be made
        del self.output_layer


ChatGLMEncoder: Any = _EncoderOnly


def empty_text_encoder(config: Mapping[str, Any]) -> Any:
    """As the part's configuration describes it."""
    return ChatGLMEncoder(ChatGLMConfig.from_dict(dict(config)))


def as_loaded(model: Any, stored: Mapping[str, T]) -> dict[str, T]:
    """By the names that `from_pretrained` loads them under: both libraries still read some older ones."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    names = {name.removeprefix(prefix): value for name, value in stored.items()}
    if hasattr(model, "_fix_state_dict_keys_on_load"):
        model._fix_state_dict_keys_on_load(names)  # noqa: SLF001 - it is diffusers' only list of them
    return names


StableDiffusionSafetyChecker: Any = _SafetyChecker


class Config(Protocol):
    scaling_factor: float
    force_upcast: bool


class Distribution(Protocol):
    mean: Tensor
    std: Tensor


class Encoded(Protocol):
    latent_dist: Distribution


class Autoencoder(Protocol):
    config: Config
    dtype: torch.dtype

    def encode(self, x: Tensor) -> Encoded: ...
    def decode(self, z: Tensor, *, return_dict: Literal[False]) -> tuple[Tensor]: ...
    def to(self, *, dtype: torch.dtype | None = None, memory_format: torch.memory_format | None = None) -> Self: ...


class UNet(Protocol):
    dtype: torch.dtype

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: Mapping[str, Tensor],
        return_dict: Literal[False],
    ) -> tuple[Tensor]: ...
    def to(self, *, dtype: torch.dtype | None = None, memory_format: torch.memory_format | None = None) -> Self: ...


class HiddenStates(Protocol):
    hidden_states: Sequence[Tensor]


class TextEncoder(Protocol):
    dtype: torch.dtype

    def __call__(
        self,
        *,
        input_ids: Tensor,
        full_attention_mask: Tensor | None,
        position_ids: Tensor,
        output_hidden_states: Literal[True],
        return_dict: Literal[True],
        use_cache: Literal[False],
    ) -> HiddenStates: ...
    def get_masks(self, input_ids: Tensor, past_key_values: None, padding_mask: Tensor) -> Tensor: ...
    def to(self, *, dtype: torch.dtype | None = None, memory_format: torch.memory_format | None = None) -> Self: ...


class Tokenizer(Protocol):
    def __call__(
        self,
        text: list[str],
        *,
        padding: Literal["max_length"],
        max_length: int,
        truncation: Literal[True],
        return_tensors: Literal["pt"],
    ) -> Mapping[str, Tensor]: ...


class NoiseScheduler(Protocol):
    """One instance per request: it counts steps and remembers earlier predictions."""

    timesteps: Tensor
    sigmas: Tensor

    def set_timesteps(self, num_inference_steps: int) -> None: ...
    def set_begin_index(self, begin_index: int) -> None: ...
    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor: ...
    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...
    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: Literal[False], **options: Any
    ) -> tuple[Tensor, ...]: ...
