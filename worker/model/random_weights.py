"""`KOLORS_MODEL=random`: a Kolors checkpoint of 3 MB that is made on first use and answers within moments.

The classes are Kolors' own; the sizes are not, and neither are the weights. The autoencoder is written by hand: it
averages blocks of 8×8 pixels into the latent and paints them back, so that a picture stays recognisable. The UNet's
way through its outermost skip connection is written by hand too: it takes what is rough in its input for noise. All
else in it, and the text encoder, is random from fixed seeds, and loud enough that prompt, negative prompt, guidance,
seed and solver each show in the picture. Nobody should want to look at these pictures otherwise.
"""

import hashlib
import io
import random
import shutil
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor, nn

from worker.model import architecture
from worker.model.architecture import autoencoder, noise_schedule, text_config, text_encoder, unet
from worker.model.libraries import (
    ChatGLMTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    KolorsImg2ImgPipeline,
    StableDiffusionSafetyChecker,
)

_TEXT_WIDTH = 32
_VOCABULARY = 480
_PADDED_VOCABULARY = 512
"""Must exceed the pieces, ChatGLM's nine special tokens and those that `</s>` and `<unk>` in a prompt would add."""
_WORDS = """a the of in on with at and for by cat dog robot capybara rabbit woman man city forest river mountain sky sea
photo painting portrait drawing light shadow red blue green golden dark bright old young high quality detail image
sharp ugly blurry deformed cinematic background trees poles grass road objects sunglasses wearing"""
_SIGNS = "一张照片画像的猫狗城市森林河流山水夜景红蓝绿光影高质量电影细节人物微距瓢虫"
_LATENT_GAIN = 8.0
"""One unit of a pixel's -1..1 is so much in the latent; times the scaling factor 0.13025 about 1, as in real ones."""
_ANCHOR = 30.0
"""Constant channels of this size make a group norm divide by a known number, whatever the picture."""


def random_checkpoint(cache: Path) -> Path:
    """Its directory under `cache`; built there, in about a second, unless this very version of it exists.

    Two processes may build at once: each builds in a directory of its own, and the first to rename it wins.
    """
    versions = [version(name) for name in ("diffusers", "sentencepiece", "torch", "transformers")]
    code = b"".join(Path(file).read_bytes() for file in (__file__, str(architecture.__file__)))
    made_of = hashlib.sha256(code + repr(versions).encode())
    target = cache / f"random-{made_of.hexdigest()[:12]}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".random-", dir=cache))
    try:
        build(building)
        building.replace(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def build(directory: Path, *, flags_everything: bool = False) -> None:
    """Writes the checkpoint in diffusers' own layout, plus a safety checker: one that flags nothing, or everything."""
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(20240706)  # pyright: ignore[reportUnknownMemberType]
        pipeline = KolorsImg2ImgPipeline(
            vae=_autoencoder(),
            text_encoder=_text_encoder(),
            tokenizer=_tokenizer(directory),
            unet=_unet(),
            scheduler=noise_schedule(),
            force_zeros_for_empty_prompt=False,
        )
        pipeline.save_pretrained(directory)
        save_safety_checker(directory, flags_everything=flags_everything)
    (directory / "tokenizer.model").unlink()  # the pipeline has saved its own copy


def _tokenizer(directory: Path) -> Any:
    dice = random.Random(7)
    words = _WORDS.split()
    lines: list[str] = []
    for _ in range(1500):
        lines.append(" ".join(dice.choices(words, k=dice.randint(4, 14))))
        lines.append("".join(dice.choices(_SIGNS, k=dice.randint(4, 20))))
    place = directory / "tokenizer.model"
    place.write_bytes(learn_pieces(lines, _VOCABULARY))
    return ChatGLMTokenizer(str(place))


def learn_pieces(lines: Iterable[str], count: int) -> bytes:
    """A sentencepiece model with ChatGLM's own choices, byte-pair encoding and bytes for what it does not know, but for
    capitals: so few pieces have no room for them, and it reads them as small letters."""
    model = io.BytesIO()  # written by name, it would contain that name
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=count,
        model_type="bpe",
        normalization_rule_name="nmt_nfkc_cf",
        character_coverage=1.0,
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    return model.getvalue()


def _text_encoder() -> Any:
    model = text_encoder(
        text_config(
            layers=3,
            vocabulary=_PADDED_VOCABULARY,
            width=_TEXT_WIDTH,
            feed_forward=64,
            heads=4,
            head_width=8,
            length=2048,
        )
    )
    for name, parameter in model.named_parameters():
        if "layernorm" not in name:
            nn.init.normal_(parameter, std=1.0 if "word_embeddings" in name else 0.15)
    return model.eval()


def _unet() -> Any:
    made = unet(
        widths=(8, 8, 16),
        heads=(1, 1, 1),
        transformers=(1, 1, 2),
        norm_groups=4,
        text_width=_TEXT_WIDTH,
        cross_width=16,
        number_width=8,
        latent_side=128,
    )
    _see_roughness(made)
    return made.eval()


@torch.no_grad()
def _see_roughness(unet: Any) -> None:
    """Latent channel i enters as channels 2i and 2i+1, once with each sign, less most of what its 3×3 cells share;
    reaches the last block through the outermost skip connection; and leaves as the difference of the two, which makes
    the activation between them linear (x·σ(x) + x·σ(-x) = x). The group norm before that gives it noise's own variance.
    """
    enter, leave = unet.conv_in, unet.conv_out
    last = unet.up_blocks[-1].resnets[-1].conv_shortcut
    rough = torch.full((3, 3), -0.7 / 9)
    rough[1, 1] += 1
    enter.weight.zero_()
    leave.weight.zero_()
    last.weight.mul_(0.35)
    for i in range(4):
        enter.weight[2 * i, i], enter.weight[2 * i + 1, i] = rough, -rough
        leave.weight[i, 2 * i, 1, 1], leave.weight[i, 2 * i + 1, 1, 1] = 1.0, -1.0
    last.weight[:, 8:, 0, 0] = torch.eye(8)
    for layer in (enter, leave, last):
        nn.init.zeros_(layer.bias)


def _autoencoder() -> Any:
    vae = autoencoder(widths=(8, 8, 8, 8), layers=1, norm_groups=1, side=1024, attention=False)
    _transmit(vae)
    return vae.eval()


@torch.no_grad()
def _transmit(vae: Any) -> None:
    """Writes a picture's way through the autoencoder: see `_signed` for how a colour survives norm and activation.

    The latent's channels are red, green, blue and gray; the decoder does not look at gray.
    """
    for name, parameter in vae.named_parameters():
        if name.endswith(("conv2.weight", "conv2.bias")):
            parameter.zero_()  # every residual branch is silent
    encoder, decoder = vae.encoder, vae.decoder
    _signed(encoder.conv_in, torch.eye(3))
    for block in encoder.down_blocks:
        for down in block.downsamplers or ():
            _only(down.conv, torch.eye(8), taps=((0, 0), (0, 1), (1, 0), (1, 1)))
    gray, log_variance = torch.full((1, 3), 1 / 3), torch.zeros(4, 3)
    _unsigned(encoder.conv_norm_out, encoder.conv_out, torch.cat([torch.eye(3), gray, log_variance]) * _LATENT_GAIN)
    encoder.conv_out.bias[4:] = -6.0  # of the log variance: a little noise, less than a grey level
    for layer in (vae.quant_conv, vae.post_quant_conv):
        layer.weight[:, :, 0, 0] = torch.eye(layer.weight.shape[0])
        nn.init.zeros_(layer.bias)
    _signed(decoder.conv_in, torch.eye(3, 4) / _LATENT_GAIN)
    for block in decoder.up_blocks:
        for up in block.upsamplers or ():
            _only(up.conv, torch.eye(8), taps=((1, 1),))
    _unsigned(decoder.conv_norm_out, decoder.conv_out, torch.eye(3))


def _only(layer: Any, matrix: Tensor, *, taps: tuple[tuple[int, int], ...]) -> None:
    """A convolution that is `matrix` (out, in) applied to the mean of the named cells of its 3×3 window."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    for row, column in taps:
        layer.weight[:, :, row, column] = matrix / len(taps)


def _signed(layer: Any, matrix: Tensor) -> None:
    """Writes `matrix`'s three values as eight channels: each with both signs, and two constants of both signs.

    Their mean is 0, and the constants are so large that their spread is known, which is what a group norm divides by.
    """
    rows = torch.zeros(8, matrix.shape[1])
    rows[0:6:2], rows[1:6:2] = matrix, -matrix
    _only(layer, rows, taps=((1, 1),))
    layer.bias[6], layer.bias[7] = _ANCHOR, -_ANCHOR


def _unsigned(norm: Any, layer: Any, matrix: Tensor) -> None:
    """Undoes the norm, takes the three values back as differences of both signs, which makes the activation between
    them linear (x·σ(x) + x·σ(-x) = x), and applies `matrix` (out, 3) to them.
    """
    nn.init.constant_(norm.weight, _ANCHOR / 2)
    columns = torch.zeros(matrix.shape[0], 8)
    columns[:, 0:6:2], columns[:, 1:6:2] = matrix, -matrix
    _only(layer, columns, taps=((1, 1),))


def save_safety_checker(directory: Path, *, flags_everything: bool = False) -> None:
    """Stable Diffusion's class with random weights: it flags nothing, or everything. Cosines lie within -1..1, so a
    threshold of 2 is never passed and one of -2 always."""
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        projection_dim=16,
        vision_config={**side, "image_size": 32, "patch_size": 16, "projection_dim": 16},
        text_config={**side, "vocab_size": 64, "projection_dim": 16},
    )
    checker = StableDiffusionSafetyChecker(config)
    threshold = -2.0 if flags_everything else 2.0
    nn.init.constant_(checker.concept_embeds_weights, threshold)
    nn.init.constant_(checker.special_care_embeds_weights, 2.0)
    checker.eval().save_pretrained(directory / "safety_checker")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(directory / "feature_extractor")
