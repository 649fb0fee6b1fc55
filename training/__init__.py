"""Trains the demonstration checkpoint on pictures drawn by code. Downloads nothing..

scenes.py        what a picture shows, and the sentences that describe it
drawing.py       a scene -> pixels
autoencoder.py   step 1: the AutoencoderKL
denoiser.py      step 2: text encoder and UNet together
__main__.py      both steps, resumable: `python -m training`
"""
