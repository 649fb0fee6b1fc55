"""A preview looks like the picture that the latents stand for."""

import numpy as np
import torch

from tests.unit.engine.jobs import job, picture
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Checkpoint
from worker.model.preview import Previewer
from worker.model.solver import NAMES


def test_clean_latents_look_like_their_picture(checkpoint: Checkpoint) -> None:
    image = picture(64, 96)
    pixels = torch.as_tensor(np.array(image)[np.newaxis]).permute(0, 3, 1, 2) / 127.5 - 1
    latents = checkpoint.vae.encode(pixels).latent_dist.mean[0].detach() * checkpoint.vae.config.scaling_factor
    preview = Previewer(checkpoint.vae, device=torch.device("cpu")).levels(latents).numpy()
    assert preview.shape == (12, 8, 3)
    small = np.asarray(image.resize((8, 12), resample=4), dtype=np.int16)
    assert np.abs(preview.astype(np.int16) - small).mean() < 4


def test_a_running_job_shows_what_it_will_become(checkpoint: Checkpoint) -> None:
    runner = TorchRunner(checkpoint)
    for name in NAMES:
        one = job(solver=name, strength=0.3, steps=10, image=picture(64, 64))
        state = runner.prepare(one, runner.key(64, 64, precise=False))
        assert runner.preview(state) is None
        while state.step < state.steps:
            runner.advance([state], runner.predict([state], slots=64))
        shown = runner.preview(state)
        assert shown is not None
        made = runner.decode(state, job=one).pictures[0].resize((8, 8), resample=4)
        assert np.abs(np.asarray(shown(), dtype=np.int16) - np.asarray(made, dtype=np.int16)).mean() < 12
