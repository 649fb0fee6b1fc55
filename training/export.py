"""Writes the checkpoint: Kolors' file layout, fp16 safetensors."""

import json
from pathlib import Path

from diffusers import AutoencoderKL, KolorsImg2ImgPipeline
from diffusers.pipelines.kolors import ChatGLMTokenizer

from training import architecture
from training.denoiser import Denoiser


def write(folder: Path, autoencoder: AutoencoderKL, denoiser: Denoiser, tokenizer: ChatGLMTokenizer) -> None:
    pipeline = KolorsImg2ImgPipeline(
        vae=autoencoder.half().eval(),
        text_encoder=denoiser.text_encoder.half().eval(),
        tokenizer=tokenizer,
        unet=denoiser.unet.half().eval(),
        scheduler=architecture.noise_schedule(),
        force_zeros_for_empty_prompt=False,
    )
    pipeline.save_pretrained(folder)
    _name_no_place(folder)


def _name_no_place(folder: Path) -> None:
    """transformers and diffusers note where a model came from; that is nobody's business."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
