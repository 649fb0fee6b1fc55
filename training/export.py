"""Writes the checkpoint: Kolors' file layout, fp16 safetensors, and a safety checker that flags nothing."""

import json
from pathlib import Path
from typing import Any

import torch

from worker.model.architecture import noise_schedule
from worker.model.libraries import KolorsImg2ImgPipeline
from worker.model.random_weights import save_safety_checker


def write(folder: Path, autoencoder: Any, denoiser: Any, tokenizer: Any) -> None:
    """Both models are on the CPU and in half precision afterwards."""
    pipeline = KolorsImg2ImgPipeline(
        vae=autoencoder.cpu().half().eval(),
        text_encoder=denoiser.text_encoder.cpu().half().eval(),
        tokenizer=tokenizer,
        unet=denoiser.unet.cpu().half().eval(),
        scheduler=noise_schedule(),
        force_zeros_for_empty_prompt=False,
    )
    pipeline.save_pretrained(folder)
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    save_safety_checker(folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes for its owner only
    _name_no_place(folder)


def _name_no_place(folder: Path) -> None:
    """transformers and diffusers note where a model came from; that is nobody's business."""
    for path in folder.rglob("*.json"):
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
