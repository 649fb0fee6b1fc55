"""What the packages import is what pyproject.toml declares for them, so that an image with one extra only works."""

import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
OURS = ("api", "worker", "shared")
COURIER = "worker.courier"


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*OURS, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


def declared(*extras: str) -> set[str]:
    """Distributions that the project and these extras ask for, by their normal names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts: list[str] = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=! ;]", text, maxsplit=1)[0] for text in texts}
    extra_names = {"hiredis"} if any(text.startswith("redis[hiredis]") for text in texts) else set[str]()
    return {_normal(name) for name in names | extra_names}


def needed(modules: set[str]) -> set[str]:
    """Distributions whose packages these modules import directly."""
    distributions = metadata.packages_distributions()
    found: set[str] = set()
    for module in modules:
        for imported in graph().find_modules_directly_imported_by(module):
            top = imported.split(".")[0]
            if top not in OURS and top not in sys.stdlib_module_names:
                found.add(_normal(distributions[top][0]))
    return found


def package(name: str) -> set[str]:
    return {name} | graph().find_descendants(name)


def reached_by(module: str) -> set[str]:
    """Our modules that are loaded when `module` is, their packages included."""
    return {module} | {name for name in graph().find_upstream_modules(module) if name.split(".")[0] in OURS}


@pytest.mark.parametrize(("name", "extras"), [("shared", []), ("api", ["api"]), ("worker", ["worker"])])
def test_every_import_is_declared(name: str, extras: list[str]):
    brought_along = {"botocore", "pydantic-core"}
    assert needed(package(name)) - declared(*extras) - brought_along == set()


def test_the_courier_runs_in_the_apis_image():
    brought_along = {"botocore", "pydantic-core"}
    assert needed(reached_by(COURIER)) - declared("api") - brought_along == set()


def test_every_dependency_has_its_reason():
    """docs/dependencies.md has one line for each, and none for what is gone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = declared(*project["optional-dependencies"]) - {"hiredis"}
    explained = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert {_normal(name) for name in explained} == wanted


def test_every_dependency_is_pinned():
    pins = {
        _normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared(*project["optional-dependencies"]) - pins == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
