"""`python -m training.sheet OUT.png [--checkpoint DIR]`: the demo's picture, and what the tiny model makes of it."""

import argparse
from pathlib import Path

import torch
from PIL import Image

from deploy.local.landscape import landscape
from worker.model.libraries import KolorsImg2ImgPipeline

PROMPTS = (
    "night, moon and stars",
    "covered with snow, winter",
    "a red sunset",
    "autumn, orange leaves, a sunny day",
    "a red house, summer, a sunny day",
)
SIZE = 384, 256
COLUMNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.sheet", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("worker/model/tiny"))
    arguments = parser.parse_args()
    pipeline = KolorsImg2ImgPipeline.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    before = landscape().resize(SIZE, Image.Resampling.LANCZOS)
    pictures = [before]
    for prompt in PROMPTS:
        pictures += pipeline(
            prompt=prompt,
            image=before,
            width=before.width,
            height=before.height,
            strength=0.75,
            num_inference_steps=20,
            generator=torch.Generator().manual_seed(1),
        ).images
    sheet = Image.new("RGB", (COLUMNS * SIZE[0], len(pictures) // COLUMNS * SIZE[1]))
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (k % COLUMNS * SIZE[0], k // COLUMNS * SIZE[1]))
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
