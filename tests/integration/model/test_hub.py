"""Repositories of a hub on the loopback, through the hub's own client in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.model.hub_server import COMMIT, FakeHub, open_hub

REPOSITORY = "somebody/kolors"
FETCH = """
import sys
from pathlib import Path
from shared.errors import WrongSetting
from worker.model.hub import Hub
cache, repository, revision, offline, half = sys.argv[1:]
try:
    hub = Hub(Path(cache), offline=offline == "offline")
    print(hub.fetch(repository, setting="KOLORS_MODEL", revision=revision or None, half=half == "half"))
except WrongSetting as error:
    print(error.message)
"""
NOWHERE = "http://127.0.0.1:9"


def fetch(
    hub: str,
    cache: Path,
    *,
    repository: str = REPOSITORY,
    revision: str = "",
    mode: str = "",
    half: str = "",
    **more: str,
) -> str:
    """Where it lies, or what was wrong."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cache), "HF_ENDPOINT": hub, **more}
    command = [sys.executable, "-c", FETCH, str(cache), repository, revision, mode, half]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.strip()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    for name in (
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
    ):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("{}")
    return directory


@pytest.fixture
def hub(files: Path) -> Iterator[FakeHub]:
    with open_hub(REPOSITORY, files) as hub:
        yield hub


def test_weights_come_in_the_precision_that_is_wanted(hub: FakeHub, tmp_path: Path) -> None:
    half = Path(fetch(hub.url, tmp_path / "a", half="half"))
    assert half.name == COMMIT
    assert hub.fetched == {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"}
    full = Path(fetch(hub.url, tmp_path / "b"))
    assert (full / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert not (full / "unet" / "diffusion_pytorch_model.bin").exists()


def test_full_weights_serve_where_there_are_no_halves(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["unet/diffusion_pytorch_model.fp16.safetensors"]
    found = Path(fetch(hub.url, tmp_path, half="half"))
    assert (found / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_what_was_fetched_is_found_offline(hub: FakeHub, tmp_path: Path) -> None:
    found = fetch(hub.url, tmp_path, revision="v1")
    for half in ("", "half"):
        assert fetch(NOWHERE, tmp_path, revision="v1", mode="offline", half=half) == found
        assert fetch(NOWHERE, tmp_path, revision="v1", half=half, HF_HUB_OFFLINE="1") == found
        assert fetch(NOWHERE, tmp_path, revision="v1", half=half) == found, "a hub that is away is no reason to fail"
    assert "not downloaded before" in fetch(NOWHERE, tmp_path, mode="offline"), "another revision"


def test_offline_and_only_a_part_of_it(hub: FakeHub, tmp_path: Path) -> None:
    found = Path(fetch(hub.url, tmp_path))
    (found / "unet" / "config.json").unlink()
    said = fetch(NOWHERE, tmp_path, mode="offline")
    assert said.startswith(f"KOLORS_MODEL: {REPOSITORY} cannot be fetched: only a part of it was downloaded")


def test_offline_and_never_fetched(hub: FakeHub, tmp_path: Path) -> None:
    assert "not downloaded before, and this worker is offline" in fetch(hub.url, tmp_path, mode="offline")
    assert "not downloaded before, and this worker is offline" in fetch(hub.url, tmp_path, HF_HUB_OFFLINE="1")
    assert not hub.fetched


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    assert "the hub does not answer" in fetch(NOWHERE, tmp_path)


def test_a_repository_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    said = fetch(hub.url, tmp_path, repository="nobody/nothing")
    assert said.startswith("KOLORS_MODEL: nobody/nothing cannot be fetched: the hub has no such repository")


def test_a_revision_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    assert fetch(hub.url, tmp_path, revision="v9") == f"KOLORS_REVISION: {REPOSITORY} has no revision v9"


def test_a_licence_that_was_not_accepted(files: Path, tmp_path: Path) -> None:
    with open_hub(REPOSITORY, files, closed_to_strangers=True) as hub:
        said = fetch(hub.url, tmp_path)
        assert "licence" in said
        assert "HF_TOKEN" in said
        assert Path(fetch(hub.url, tmp_path, HF_TOKEN="hf_mine")).name == COMMIT
