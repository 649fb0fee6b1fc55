"""Both kinds of safety checker flag what they should; nothing else is asked of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from tests.unit.engine.jobs import job, picture
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.random_weights import build
from worker.model.safety import open_safety_checker

CPU: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}


def test_the_tiny_one_flags_nothing(tiny: Path) -> None:
    checker = open_safety_checker(tiny / "safety_checker", **CPU)
    assert checker.flags([picture(seed=k) for k in range(3)]) == (False, False, False)


def test_a_flagged_picture_is_black_and_of_the_same_size(tmp_path: Path) -> None:
    build(tmp_path, flags_everything=True)
    runner = TorchRunner(open_checkpoint(Wanted(source=str(tmp_path), cache=tmp_path, device="cpu")))
    one = job(images=2, steps=1, image=picture(64, 72))
    state = runner.prepare(one, runner.key(64, 72, precise=False))
    runner.advance([state], runner.predict([state], slots=64))
    checked = runner.decode(state, job=one)
    assert checked.flagged == (True, True)
    assert [(it.size, it.getbbox()) for it in checked.pictures] == [((64, 72), None)] * 2
    unchecked = runner.decode(state, job=job(images=2, steps=1, image=picture(64, 72), check_safety=False))
    assert unchecked.flagged == (False, False)
    assert all(it.getbbox() for it in unchecked.pictures)


@pytest.mark.parametrize(("bias", "flagged"), [((0.0, 5.0), True), ((5.0, 0.0), False)])
def test_a_classifier_is_asked_for_its_label(tmp_path: Path, bias: tuple[float, float], flagged: bool) -> None:
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        id2label={0: "normal", 1: "nsfw"}, label2id={"normal": 0, "nsfw": 1},
    )  # fmt: skip
    model: Any = ViTForImageClassification(config)
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data = torch.tensor(bias)
    model.save_pretrained(tmp_path)
    extractor: Any = ViTImageProcessor(size={"height": 32, "width": 32})
    extractor.save_pretrained(tmp_path)
    assert open_safety_checker(tmp_path, **CPU).flags([picture(), picture(128, 32)]) == (flagged, flagged)
