"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("api", "shared", "worker", "deploy", "tests")
MOST_LINES = 500
MOST_LUA_LINES = 60
MOST_BODY_LINES = 40
Function = ast.FunctionDef | ast.AsyncFunctionDef
WEAK_NAMES = {"manager", "helper", "helpers", "utils", "util", "common", "misc"}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the repository, as far as it is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return tuple(path for path in paths if path.is_file())


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_can_be_read_in_one_go():
    long = {name_of(path): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_scripts_fit_on_a_screen():
    scripts = [path for path in tracked() if path.suffix == ".lua"]
    assert scripts
    long = {name_of(path): len(path.read_text().splitlines()) for path in scripts}
    assert {name: lines for name, lines in long.items() if lines > MOST_LUA_LINES} == {}


def test_functions_are_short():
    """Without their docstrings; a test that lists cases may be longer."""
    ours = [path for path in python_files() if path.relative_to(ROOT).parts[0] != "tests"]
    assert [told for path in ours for told in _long_functions(path)] == []


def test_every_module_says_what_it_is():
    """Empty package files have nothing to say."""
    silent = [path for path in python_files() if path.read_text().strip() and not _docstring(path)]
    assert [name_of(path) for path in silent] == []


def test_no_module_has_a_name_that_says_nothing():
    weak = [path for path in python_files() if WEAK_NAMES & set(path.stem.split("_"))]
    assert [name_of(path) for path in weak] == []


def test_lock_files_name_no_place_to_download_from():
    locks = [path for path in tracked() if path.name in ("package-lock.json", "constraints.txt")]
    assert len(locks) == 2
    for lock in locks:
        assert not re.search(r"https?://|file:", lock.read_text()), name_of(lock)


@pytest.mark.parametrize("document", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=name_of)
def test_links_between_documents_lead_somewhere(document: Path):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def _long_functions(path: Path) -> list[str]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]
    return [
        f"{name_of(path)}:{node.lineno} {node.name} has {_lines(node)} lines"
        for node in nodes
        if _lines(node) > MOST_BODY_LINES
    ]


def _lines(node: Function) -> int:
    """From the first to the last line of the body, the docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text()))
