"""The sizes of the demonstration model: Kolors' own classes and proportions, three orders of magnitude smaller.

autoencoder     8× down, 4 channels                     1.0 M parameters
text encoder    ChatGLM, 2 layers of 96                 0.3 M
UNet            SDXL's three levels, 32-64-112 wide     5 M
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.kolors import ChatGLMModel
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig

SCALING_FACTOR = 0.13025
"""Kolors' own. The autoencoder's latents are normalised after training so that it holds for ours, too."""
HIDDEN = 96
VOCABULARY = 700
PADDED_VOCABULARY = 736
"""Above the sentencepiece model's size by more than the nine special tokens of ChatGLM and two added ones."""


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=256,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=SCALING_FACTOR,
        force_upcast=True,
    )


@torch.no_grad()
def pass_through(model: AutoencoderKL) -> None:
    """Makes an untrained autoencoder hand its input on, roughly: identities along the main path, weak branches.

    From diffusers' own start a net this deep and narrow learns brightness first, and colours only after thousands of
    steps (Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014).
    """
    for name, module in model.named_modules():
        if name.endswith("to_out.0"):
            module.weight.mul_(0.2)
        elif isinstance(module, torch.nn.Conv2d) and module.bias is not None and not name.endswith("conv1"):
            drawn = module.weight.clone()
            if name.endswith("conv2"):
                module.weight.mul_(0.2)
            else:
                torch.nn.init.dirac_(module.weight).add_(drawn, alpha=0.3)
            module.bias.zero_()


def text_encoder() -> ChatGLMModel:
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=PADDED_VOCABULARY,
        hidden_size=HIDDEN,
        ffn_hidden_size=192,
        kv_channels=16,
        num_attention_heads=6,
        seq_length=2048,
        multi_query_attention=True,
        multi_query_group_num=2,
        add_qkv_bias=True,
        rmsnorm=True,
        apply_query_key_layer_scaling=True,
        attention_softmax_in_fp32=True,
        original_rope=True,
        use_cache=False,
    )
    model = ChatGLMModel(config, empty_init=False).float()
    for name, weight in model.named_parameters():
        if "layernorm" in name:  # diffusers leaves these uninitialised: it only ever loads them
            torch.nn.init.ones_(weight)
    return model


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 112),
        layers_per_block=2,
        attention_head_dim=(2, 4, 7),
        transformer_layers_per_block=(1, 1, 1),
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=HIDDEN + 6 * 8,
        encoder_hid_dim=HIDDEN,
        encoder_hid_dim_type="text_proj",
        cross_attention_dim=64,
    )


@torch.no_grad()
def start_quietly(model: UNet2DConditionModel) -> None:
    """Weak branches and a silent last layer, so that an untrained UNet disturbs neither its main path nor the loss."""
    for name, module in model.named_modules():
        if name.endswith((".conv2", ".proj_out", ".to_out.0", ".ff.net.2")):
            module.weight.mul_(0.2)
            module.bias.zero_()
    model.conv_out.weight.zero_()
    model.conv_out.bias.zero_()
