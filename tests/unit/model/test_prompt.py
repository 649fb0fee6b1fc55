"""Texts are encoded once while they are remembered, and memory is bounded."""

import pytest
import torch

from worker.model.checkpoint import Checkpoint
from worker.model.device import Processor
from worker.model.prompt import TOKENS, PromptEncoder


class Counting:
    """The real text encoder, with a count of its calls."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._encoder = checkpoint.text_encoder
        self.dtype = checkpoint.text_encoder.dtype
        self.get_masks = checkpoint.text_encoder.get_masks
        self.calls = 0

    def __call__(self, **inputs: object) -> object:
        self.calls += 1
        return self._encoder(**inputs)  # pyright: ignore


def encoder(checkpoint: Checkpoint, cache_bytes: int) -> tuple[PromptEncoder, Counting]:
    counting = Counting(checkpoint)
    return PromptEncoder(checkpoint.tokenizer, counting, device=Processor(), cache_bytes=cache_bytes), counting  # pyright: ignore


def test_a_text_is_encoded_once(checkpoint: Checkpoint) -> None:
    prompts, counting = encoder(checkpoint, 1 << 20)
    first = prompts.encode("a cat")
    assert prompts.encode("a cat") is first
    assert prompts.encode("") is prompts.encode("")
    assert counting.calls == 2
    assert first.embeds.shape == (1, TOKENS, 32)
    assert first.pooled.shape == (1, 32)
    assert not torch.equal(first.embeds, prompts.encode("a dog").embeds)


def test_the_least_recently_used_text_is_forgotten_and_the_empty_one_never(checkpoint: Checkpoint) -> None:
    room_for_two = 2 * encoder(checkpoint, 0)[0].encode("").size_bytes
    prompts, counting = encoder(checkpoint, room_for_two)
    prompts.encode("a")
    prompts.encode("b")
    prompts.encode("a")
    prompts.encode("c")
    assert prompts.held_bytes <= room_for_two
    calls = counting.calls
    prompts.encode("a")
    prompts.encode("c")
    prompts.encode("")
    assert counting.calls == calls
    prompts.encode("b")
    assert counting.calls == calls + 1


def test_without_room_nothing_is_kept_and_everything_works(checkpoint: Checkpoint) -> None:
    prompts, counting = encoder(checkpoint, 0)
    once, twice = prompts.encode("a"), prompts.encode("a")
    assert torch.equal(once.embeds, twice.embeds)
    assert prompts.held_bytes == 0
    assert counting.calls == 3


@pytest.mark.parametrize("text", ["一张瓢虫的照片", "</s><unk>[gMASK]<|user|>", "🐈\n\t", "word " * 600, " "])
def test_any_text_gives_finite_numbers(checkpoint: Checkpoint, text: str) -> None:
    prompt = encoder(checkpoint, 0)[0].encode(text)
    assert bool(torch.isfinite(prompt.embeds).all())
    assert prompt.embeds.shape[1] == TOKENS
