"""Text into what the UNet listens to, with the last texts remembered.

Encoding costs a fifth of a denoising step of a 1024² picture per text, and texts repeat: the empty negative prompt
always, a caller's prompt often. Each text is encoded alone, so that its embedding does not depend on its company.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from worker.model.device import Device
from worker.model.libraries import TextEncoder, Tokenizer
from worker.model.tuning import surviving_cudnn

TOKENS = 256
"""Of a prompt. A longer one loses its end, silently, as in the stock pipeline."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Prompt:
    """`embeds`: (1, 256, width) from the last layer but one; `pooled`: (1, width), the last layer's last token."""

    embeds: Tensor
    pooled: Tensor

    @property
    def size_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.embeds, self.pooled))


class PromptEncoder:
    """Remembers the most recently used texts up to `cache_bytes`; the empty text is kept besides, for good.

    For one thread. A prompt that is handed out stays valid when it is forgotten here.
    """

    def __init__(
        self, tokenizer: Tokenizer, text_encoder: TextEncoder, *, device: Device, cache_bytes: int = 256 << 20
    ) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._device = device
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._cache: OrderedDict[bytes, Prompt] = OrderedDict()
        self._empty = self._encode("")

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def encode(self, text: str) -> Prompt:
        if not text:
            return self._empty
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()  # texts themselves may be long
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return known
        prompt = self._cache[key] = self._encode(text)
        self._held_bytes += prompt.size_bytes
        while self._held_bytes > self._cache_bytes:
            self._held_bytes -= self._cache.popitem(last=False)[1].size_bytes
        return prompt

    @torch.inference_mode()
    def _encode(self, text: str) -> Prompt:
        tokens = self._tokenizer([text], padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        # Whether there is anything to mask is asked here: asked by the encoder, on a GPU, the host would wait for it.
        padded = not bool(tokens["attention_mask"].all())
        mask = self._text_encoder.get_masks(tokens["input_ids"], None, tokens["attention_mask"]) if padded else None
        encode = partial(
            self._text_encoder,
            input_ids=self._device.send(tokens["input_ids"]),
            full_attention_mask=None if mask is None else self._device.send(mask),
            position_ids=self._device.send(tokens["position_ids"]),
            output_hidden_states=True,
            return_dict=True,
            use_cache=False,
        )
        said = surviving_cudnn(encode).hidden_states
        # ChatGLM says (tokens, batch, width). The clones let go of the layers that nobody asks for.
        return Prompt(said[-2].permute(1, 0, 2).clone(memory_format=torch.contiguous_format), said[-1][-1].clone())
