"""The steps of set-up, each with the things that, when they change, make it due again.

A finished step leaves a stamp in `.venv/stamps` with a digest of those things, so a second run costs milliseconds.
`runtime` is what `make serve` and `make demo` need; `dev` adds the linters and test libraries; `test` adds the
parts that only some tests need (node packages, an S3 server).
"""

import compileall
import hashlib
import json
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.setup import node, swift, torch_build
from deploy.setup.commands import make_venv, pip_install, run
from deploy.setup.progress import Bar

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"


@dataclass(frozen=True)
class Step:
    name: str
    title: str
    inputs: Callable[[], str]
    """Everything the outcome depends on, as text."""
    do: Callable[[Bar], None]

    def is_done(self) -> bool:
        return self._stamp.is_file() and self._stamp.read_text() == self._digest()

    def carry_out(self) -> None:
        bar = Bar(self.title)
        self.do(bar)
        self._stamp.parent.mkdir(exist_ok=True)
        self._stamp.write_text(self._digest())
        bar.done()

    @property
    def _stamp(self) -> Path:
        return VENV / "stamps" / self.name

    def _digest(self) -> str:
        return hashlib.sha256(self.inputs().encode()).hexdigest()


def make_own_venv() -> None:
    """`.venv`. Raises `SetupFailed`."""
    bar = Bar("virtual environment")
    make_venv(VENV)
    bar.done(f"Python {sys.version.split()[0]}")


def packages(*extras: str) -> Callable[[Bar], None]:
    """Installs this project's dependencies of `extras`, in the versions of constraints.txt."""

    def install(bar: Bar) -> None:
        project = f"{ROOT}[{','.join(extras)}]"
        pins = sum(1 for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
        command = [*pip_install("--progress-bar", "off", "-c", str(CONSTRAINTS), "-e", project)]
        run(command, bar, advice="The lines above are pip's; fix what they name and run it again.", expected_lines=pins)

    return install


def compile_all(_: Bar) -> None:
    """To bytecode, on all cores, instead of by many processes that start at once and each do it for themselves."""
    compileall.compile_dir(sysconfig.get_path("purelib"), quiet=2, workers=0)  # some come with broken examples


def package_inputs() -> str:
    """The parts of pyproject.toml that decide what is installed, and the pins."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = json.dumps([pyproject["build-system"], pyproject["project"]], sort_keys=True)
    return "\n".join([sys.version, project, CONSTRAINTS.read_text()])


def plan(stage: str) -> list[Step]:
    """The steps of `runtime`, `dev` or `test`, in their order."""
    build = torch_build.wanted()
    steps = [
        Step("torch", f"torch ({build} build)", lambda: f"{torch_build.VERSION} {build}", _torch(build)),
        Step("runtime", "packages to run", package_inputs, packages("api", "worker", "embedded")),
    ]
    if stage in ("dev", "test"):
        steps.append(Step("dev", "packages to develop", package_inputs, packages("api", "worker", "embedded", "dev")))
        steps.append(Step("bytecode", "bytecode", package_inputs, compile_all))
    if stage == "test":
        steps.append(Step("node", "node packages", node.inputs, node.install))
        steps.append(Step("swift", "S3 server of the tests", swift.inputs, swift.install))
    return steps


def _torch(build: str) -> Callable[[Bar], None]:
    return lambda bar: torch_build.install(build, bar)
