"""The parts of set-up that decide something."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import steps, torch_build
from deploy.setup.commands import make_venv, run
from deploy.setup.progress import Bar, SetupFailed

CPU_PLAN = {"torch": "2.13.0+cpu", "numpy": "2.4.6"}
CUDA_PLAN = {"torch": "2.13.0", "nvidia-cublas": "13.1", "nvidia-cudnn-cu13": "9.1", "triton": "3.6"}


def test_cuda_packages_are_refused_where_nothing_can_use_them():
    with pytest.raises(SetupFailed) as caught:
        torch_build.refuse_cuda(CUDA_PLAN)
    assert "3 CUDA packages" in caught.value.what
    assert "TORCH=cuda" in caught.value.advice


def test_the_small_build_is_fine():
    torch_build.refuse_cuda(CPU_PLAN)


@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_the_build_can_be_chosen(build: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH", build)
    assert torch_build.wanted() == build


def test_an_unknown_build_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH", "rocm")
    with pytest.raises(SetupFailed, match="TORCH=rocm"):
        torch_build.wanted()


def test_the_driver_decides_where_nobody_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.wanted() == "cpu"
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    assert torch_build.wanted() == "cuda"


def test_a_step_is_due_again_when_its_inputs_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(steps, "VENV", tmp_path)
    done: list[str] = []
    inputs = ["one"]
    step = steps.Step("name", "title", lambda: inputs[0], lambda _: done.append(inputs[0]))
    assert not step.is_done()
    step.carry_out()
    assert step.is_done()
    inputs[0] = "two"
    assert not step.is_done()
    step.carry_out()
    assert done == ["one", "two"]


def test_a_step_that_failed_is_due_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(steps, "VENV", tmp_path)

    def fail(_: Bar) -> None:
        raise SetupFailed("no", "try")

    step = steps.Step("name", "title", lambda: "", fail)
    with pytest.raises(SetupFailed):
        step.carry_out()
    assert not step.is_done()


def test_linters_may_change_without_another_installation():
    """Only what decides about packages makes the step due again."""
    assert "line-length" not in steps.package_inputs()
    assert "fastapi" in steps.package_inputs()


def test_each_stage_holds_the_one_before():
    runtime, dev, test = ([step.name for step in steps.plan(stage)] for stage in ("runtime", "dev", "test"))
    assert runtime == dev[: len(runtime)]
    assert dev == test[: len(dev)]


def test_a_failed_command_shows_its_end_and_the_advice():
    with pytest.raises(SetupFailed) as caught:
        run([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], Bar("x"), advice="do this")
    assert caught.value.output == "the reason"
    assert caught.value.advice == "do this"


@pytest.mark.parametrize(
    ("output", "advice"),
    [("OSError: [Errno 28] No space left on device", "disk is full"), ("Connection refused", "index")],
)
def test_well_known_causes_have_advice_of_their_own(output: str, advice: str):
    with pytest.raises(SetupFailed) as caught:
        run([sys.executable, "-c", f"print({output!r}); raise SystemExit(1)"], Bar("x"), advice="")
    assert advice in caught.value.advice


def test_a_bar_in_a_log_speaks_now_and_then(capsys: pytest.CaptureFixture[str]):
    clock = [0.0]
    bar = Bar("packages", lambda: clock[0])
    for second in range(25):
        clock[0] = float(second)
        bar.at(second / 25, f"part {second}")
    bar.done()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" after ")[-1] for line in lines[1:3]] == ["10 s, part 10", "20 s, part 20"]
    assert len(lines) == 4


def test_a_python_that_is_too_old_is_not_taken(tmp_path: Path):
    """Every Python on this PATH refuses, as one older than 3.11 does; the reader is told what to do."""
    for name in ("python3.11", "python3.12", "python3.13", "python3.14", "python3", "python"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    script = Path("deploy/setup/run.sh").absolute()
    asked = subprocess.run(
        ["/bin/sh", script, "runtime"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert "3.11 or newer" in asked.stderr
    assert "PYTHON=" in asked.stderr


def test_an_environment_that_is_a_link_is_refused_and_what_it_leads_to_kept(tmp_path: Path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "venv").symlink_to(tmp_path / "precious")
    with pytest.raises(SetupFailed, match="leads to"):
        make_venv(tmp_path / "venv")
    assert (tmp_path / "precious" / "file").exists()
