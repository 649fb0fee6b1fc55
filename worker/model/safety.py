"""Says which finished pictures should not be shown. What is done about them is the runner's business.

Two kinds of checkpoint are understood: Stable Diffusion's (CLIP and seventeen concepts), and any image classifier of
transformers that has a label `nsfw`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from worker.model.libraries import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPImageProcessor,
    StableDiffusionSafetyChecker,
)


class SafetyChecker(Protocol):
    def flags(self, pictures: Sequence[Image.Image]) -> tuple[bool, ...]:
        """One answer per RGB picture. May be called from any thread, one at a time."""
        ...


class ConceptChecker:
    """Stable Diffusion's own: a picture is flagged when it is close to any of its concepts."""

    def __init__(self, checker: Path, extractor: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        self._model = _whole(StableDiffusionSafetyChecker, checker, dtype).to(device)
        self._extract: Any = CLIPImageProcessor.from_pretrained(extractor)
        self._device, self._dtype = device, dtype

    @torch.inference_mode()
    def flags(self, pictures: Sequence[Image.Image]) -> tuple[bool, ...]:
        pixels = self._extract(list(pictures), return_tensors="pt")["pixel_values"].to(self._device, self._dtype)
        # It also blackens what it is given: the runner does that itself, so it gets something small to blacken.
        _, flagged = self._model(clip_input=pixels, images=torch.zeros(len(pictures), 1))
        return tuple(bool(flag) for flag in flagged)


class LabelChecker:
    """A classifier: flagged when the label `nsfw` gets at least half of the probability."""

    def __init__(self, directory: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        self._model = _whole(AutoModelForImageClassification, directory, dtype).to(device)
        self._extract: Any = AutoImageProcessor.from_pretrained(directory)
        self._device, self._dtype = device, dtype
        labels: Mapping[int, str] = self._model.config.id2label
        wanted = [index for index, label in labels.items() if label.lower() == "nsfw"]
        if not wanted:
            raise ValueError(f"its labels are {sorted(labels.values())}, none of them is nsfw")
        self._nsfw = wanted[0]

    @torch.inference_mode()
    def flags(self, pictures: Sequence[Image.Image]) -> tuple[bool, ...]:
        pixels = self._extract(list(pictures), return_tensors="pt")["pixel_values"].to(self._device, self._dtype)
        shares = self._model(pixel_values=pixels).logits.float().softmax(dim=-1)[:, self._nsfw]
        return tuple(bool(share >= 0.5) for share in shares.cpu())


def open_safety_checker(directory: Path, *, device: torch.device, dtype: torch.dtype) -> SafetyChecker:
    """From a directory of either kind; `feature_extractor` may lie beside it, as in a pipeline. OSError, ValueError."""
    made_for: list[str] = json.loads((directory / "config.json").read_text()).get("architectures") or []
    if "StableDiffusionSafetyChecker" not in made_for:
        return LabelChecker(directory, device=device, dtype=dtype)
    beside = directory.parent / "feature_extractor"
    return ConceptChecker(directory, beside if beside.exists() else directory, device=device, dtype=dtype)


def _whole(kind: Any, directory: Path, dtype: torch.dtype) -> Any:
    """transformers fills in what the files lack, at random: such a checker would say anything. ValueError."""
    model, told = kind.from_pretrained(directory, dtype=dtype, output_loading_info=True)
    if told["missing_keys"]:
        raise ValueError(f"{min(told['missing_keys'])} is missing")
    return model.eval()
