"""Kolors' own classes at any size: what all of its sizes have in common is said here, once.

The real model's sizes are in `tests/bench/device/model.py`, the trained miniature's in `training/architecture.py`, and
those of the untrained one in `random_weights.py`.
"""

from typing import Any

from torch import nn

from worker.model.libraries import (
    AutoencoderKL,
    ChatGLMConfig,
    ChatGLMModel,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
)

SCALING_FACTOR = 0.13025
"""What the autoencoder's latents are multiplied with."""


def noise_schedule() -> Any:
    """Kolors' published values; `beta_end` and the number of steps differ from SDXL's."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.014,
        beta_schedule="scaled_linear",
        num_train_timesteps=1100,
        prediction_type="epsilon",
        steps_offset=1,
        timestep_spacing="leading",
    )


def unet(
    *,
    widths: tuple[int, int, int],
    heads: tuple[int, int, int],
    transformers: tuple[int, int, int],
    norm_groups: int,
    text_width: int,
    cross_width: int,
    number_width: int,
    latent_side: int,
) -> Any:
    """SDXL's three levels, with Kolors' projection of the text in front.

    `widths`, `heads` and `transformers` are each level's channels, attention heads and transformer blocks per
    attention; the text comes `text_width` wide and is looked at `cross_width` wide; each of the six numbers that say
    the picture's size is embedded `number_width` wide.
    """
    return UNet2DConditionModel(
        sample_size=latent_side,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=2,
        attention_head_dim=heads,
        transformer_layers_per_block=transformers,
        use_linear_projection=True,
        norm_num_groups=norm_groups,
        addition_embed_type="text_time",
        addition_time_embed_dim=number_width,
        projection_class_embeddings_input_dim=text_width + 6 * number_width,
        encoder_hid_dim=text_width,
        encoder_hid_dim_type="text_proj",
        cross_attention_dim=cross_width,
    )


def autoencoder(
    *,
    widths: tuple[int, int, int, int],
    layers: int,
    norm_groups: int,
    side: int,
    attention: bool = True,
) -> Any:
    """SDXL's: four levels, so 8 pixels to a latent cell, of 4 channels; `side` in pixels is what it is told it was
    made for."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=side,
        block_out_channels=widths,
        layers_per_block=layers,
        norm_num_groups=norm_groups,
        mid_block_add_attention=attention,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=SCALING_FACTOR,
        force_upcast=True,
    )


def text_config(
    *, layers: int, vocabulary: int, width: int, feed_forward: int, heads: int, head_width: int, length: int
) -> Any:
    """ChatGLM3's, with `length` tokens at most; keys and values are two heads that all share."""
    return ChatGLMConfig(
        num_layers=layers,
        padded_vocab_size=vocabulary,
        hidden_size=width,
        ffn_hidden_size=feed_forward,
        kv_channels=head_width,
        num_attention_heads=heads,
        seq_length=length,
        multi_query_attention=True,
        multi_query_group_num=2,
        add_qkv_bias=True,
        rmsnorm=True,
        original_rope=True,
        use_cache=False,
    )


def text_encoder(config: Any) -> Any:
    """With torch's own first weights, but ones in the norms: diffusers, which only ever loads, leaves those unset."""
    model = ChatGLMModel(config, empty_init=False).float()
    for name, weight in model.named_parameters():
        if "layernorm" in name:
            nn.init.ones_(weight)
    return model
