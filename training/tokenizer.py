"""The tokenizer: ChatGLM's class over a small sentencepiece model, learnt from captions of scenes."""

import random
from pathlib import Path

import sentencepiece
from diffusers.pipelines.kolors import ChatGLMTokenizer

from training.architecture import VOCABULARY
from training.scenes import caption, compose

SENTENCES = 20_000
PROMPT_TOKENS = 256
"""What Kolors' pipeline pads every prompt to."""


def build(folder: Path, seed: int) -> ChatGLMTokenizer:
    """Learns the model once; found again in `folder` later."""
    model = folder / "tokenizer.model"
    if not model.exists():
        rng = random.Random(seed)
        corpus = folder / "captions.txt"
        corpus.write_text("\n".join(caption(compose(rng), rng) for _ in range(SENTENCES)), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(folder / "learning"),
            vocab_size=VOCABULARY,
            model_type="bpe",
            character_coverage=1.0,
            byte_fallback=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            minloglevel=2,
            num_threads=1,
            shuffle_input_sentence=False,
        )
        (folder / "learning.model").replace(model)
    return ChatGLMTokenizer(str(model))
