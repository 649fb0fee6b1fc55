"""Trains the demonstration checkpoint on pictures drawn by code. Downloads nothing.

scenes.py        what a picture shows, and the sentences that describe it
drawing.py       a scene -> pixels
architecture.py  the sizes of the model
tokenizer.py     the words that it reads
autoencoder.py   step 1: the AutoencoderKL
denoiser.py      step 2: text encoder and UNet together
run.py           the loop that both share
kept.py          what is kept in the working folder, and of which training it is
export.py        the checkpoint
train.py         all of it, resumable
__main__.py      the same from the command line: `python -m training`
sheet.py         a picture of what a checkpoint paints
curves.py        a picture of the losses
"""
