"""The tokenizer: ChatGLM's class over a small sentencepiece model, learnt from captions of scenes."""

import random
from pathlib import Path
from typing import Any

from training.architecture import VOCABULARY
from training.scenes import caption, compose
from worker.model.libraries import ChatGLMTokenizer
from worker.model.random_weights import learn_pieces

SENTENCES = 20_000
PROMPT_TOKENS = 256
"""What Kolors' pipeline pads every prompt to."""


def build(folder: Path, seed: int) -> Any:
    """Learns the model once; found again in `folder` later."""
    model = folder / "tokenizer.model"
    if not model.exists():
        rng = random.Random(seed)
        model.write_bytes(learn_pieces((caption(compose(rng), rng) for _ in range(SENTENCES)), VOCABULARY))
    return ChatGLMTokenizer(str(model))
