"""The sizes of the demonstration model: Kolors' own classes and proportions, three orders of magnitude smaller.

autoencoder     8× down, 4 channels                     1.0 M parameters
text encoder    ChatGLM, 2 layers of 96                 0.3 M
UNet            SDXL's three levels, 32-64-112 wide     5 M
"""

from typing import Any

import torch

from worker.model import architecture

HIDDEN = 96
VOCABULARY = 700
PADDED_VOCABULARY = 736
"""Above the sentencepiece model's size by more than the nine special tokens of ChatGLM and two added ones."""


def autoencoder() -> Any:
    return architecture.autoencoder(widths=(16, 32, 64, 64), layers=1, norm_groups=4, side=256)


@torch.no_grad()
def pass_through(model: Any) -> None:
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


def text_encoder() -> Any:
    return architecture.text_encoder(
        architecture.text_config(
            layers=2,
            vocabulary=PADDED_VOCABULARY,
            width=HIDDEN,
            feed_forward=192,
            heads=6,
            head_width=16,
            length=2048,
        )
    )


def unet() -> Any:
    return architecture.unet(
        widths=(32, 64, 112),
        heads=(2, 4, 7),
        transformers=(1, 1, 1),
        norm_groups=8,
        text_width=HIDDEN,
        cross_width=64,
        number_width=8,
        latent_side=32,
    )


@torch.no_grad()
def start_quietly(model: Any) -> None:
    """Weak branches and a silent last layer, so that an untrained UNet disturbs neither its main path nor the loss."""
    for name, module in model.named_modules():
        if name.endswith((".conv2", ".proj_out", ".to_out.0", ".ff.net.2")):
            module.weight.mul_(0.2)
            module.bias.zero_()
    model.conv_out.weight.zero_()
    model.conv_out.bias.zero_()
