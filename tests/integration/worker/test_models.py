"""Where a real worker takes its model from: a hub, what it once took from there, and what it says where it cannot."""

from pathlib import Path

from tests.integration.model.hub_server import COMMIT, open_hub
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import Floor
from worker.model.random_weights import random_checkpoint

REPOSITORY = "somebody/kolors"


def test_a_model_of_the_hub_paints_and_paints_again_offline(floor: Floor, spawn: Spawn, tmp_path: Path) -> None:
    chosen = {"KOLORS_MODEL": REPOSITORY, "KOLORS_REVISION": "v1", "DEVICE": "cpu"}
    with open_hub(REPOSITORY, random_checkpoint(tmp_path / "built")) as hub:
        first = spawn(WORKER_NAME="first", HF_ENDPOINT=hub.url, **chosen)
        first.said("needs a registration with their owner")
        first.said(f"at commit {COMMIT}")
        first.said("GiB on cpu for its weights in float32")
        floor.output(floor.submit())
        first.close()
    second = spawn(WORKER_NAME="second", HF_ENDPOINT=hub.url, MODEL_OFFLINE="true", **chosen)
    second.said(f"at commit {COMMIT}")
    floor.output(floor.submit())


def test_offline_without_the_model_is_a_wrong_setting(floor: Floor, spawn: Spawn) -> None:
    worker = spawn(ready=False, KOLORS_MODEL=REPOSITORY, MODEL_OFFLINE="true", DEVICE="cpu")
    worker.said("KOLORS_MODEL: somebody/kolors cannot be fetched: it was not downloaded before")
    assert worker.exit_status() == 2


def test_a_schedule_that_the_steps_cannot_follow_is_a_wrong_setting(floor: Floor, spawn: Spawn, tmp_path: Path) -> None:
    model = random_checkpoint(tmp_path)
    schedule = model / "scheduler" / "scheduler_config.json"
    schedule.write_text(schedule.read_text().replace('"epsilon"', '"v_prediction"'))
    worker = spawn(ready=False, KOLORS_MODEL=str(model), DEVICE="cpu")
    worker.said(f"KOLORS_MODEL: the scheduler of {model} cannot be loaded: prediction_type is v_prediction")
    assert worker.exit_status() == 2
