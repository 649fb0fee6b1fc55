"""docker-compose.yml and the Dockerfiles, as far as they can be judged without an engine to run them."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.local.settings import read

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Tree:
    return cast("Tree", yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def services(compose: Tree) -> dict[str, Tree]:
    return compose["services"]


def test_it_follows_the_compose_specification():
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_hadolint(dockerfile: Path):
    checked = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_a_service_waits_for_exists_and_can_be_waited_for(compose: Tree):
    for name, service in services(compose).items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in services(compose), f"{name} waits for {other}"
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services(compose)[other], f"{name} waits for the health of {other}"


def test_named_volumes_are_declared_and_used(compose: Tree):
    used = {
        volume.split(":")[0]
        for service in services(compose).values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert used == set(compose["volumes"])


def test_every_service_is_watched_restarted_and_pinned(compose: Tree):
    for name, service in services(compose).items():
        assert "healthcheck" in service, name
        assert service["restart"] == "unless-stopped", name
        assert re.search(r":\d+\.\d+(\.\d+)?$", service["image"]), f"{name}: {service['image']} names no version"


def test_images_without_a_build_of_their_own_are_built_by_another_service_or_public(compose: Tree):
    built = {service["image"] for service in services(compose).values() if "build" in service}
    for name, service in services(compose).items():
        ours = service["image"].startswith("kolors-queue")
        assert (service["image"] in built) == ours, name


def test_builds_name_a_dockerfile_that_is_there(compose: Tree):
    for service in services(compose).values():
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_only_the_gpu_worker_asks_for_a_gpu(compose: Tree):
    reserving = [name for name, service in services(compose).items() if "deploy" in service]
    assert reserving == ["worker"]
    (device,) = services(compose)["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_exactly_one_worker_runs_in_each_profile(compose: Tree):
    profiles = {name: service.get("profiles", []) for name, service in services(compose).items()}
    assert profiles == {
        "redis": [],
        "s3": [],
        "api": [],
        "courier": [],
        "worker": ["gpu"],
        "worker-cpu": ["cpu"],
    }
    assert services(compose)["worker-cpu"]["environment"]["KOLORS_MODEL"] == "tiny"


def test_all_of_ours_share_one_queue_and_one_store(compose: Tree):
    ours = [service["environment"] for service in services(compose).values() if "kolors-queue" in service["image"]]
    assert len(ours) == 4
    for name in ("REDIS_URL", "STORAGE_URL", "AWS_ENDPOINT_URL_S3", "S3_PUBLIC_ENDPOINT_URL"):
        assert len({environment[name] for environment in ours}) == 1, name


def test_the_api_and_the_courier_share_the_signing_keys(compose: Tree):
    assert services(compose)["api"]["volumes"] == services(compose)["courier"]["volumes"] == ["keys:/data/keys"]


def test_redis_keeps_its_append_only_file_and_never_evicts(compose: Tree):
    command = services(compose)["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory") + 1] == f"${{REDIS_MAXMEMORY:-{read({}).redis_maxmemory}}}"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services(compose)["redis"]["volumes"] == ["redis:/data"]


def test_nothing_starts_without_secrets_of_its_own(compose: Tree):
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("API_KEYS", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert re.search(rf"\$\{{{name}:\?", text), name


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_containers_do_not_run_as_root_and_are_watched(dockerfile: Path):
    final = dockerfile.read_text().rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    for base in re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+-", base), f"{base} is not pinned"


def test_what_the_images_copy_is_in_the_build_context():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for dockerfile in DOCKERFILES:
        for sources in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile.read_text(), re.MULTILINE):
            assert set(sources.split()) <= allowed, dockerfile.name


@pytest.mark.parametrize("forbidden", ["torch", "diffusers", "transformers", "celery", "numpy"])
def test_the_api_image_has_nothing_of_the_worker(forbidden: str):
    """The image installs `.[api]`: nothing that this asks for, however indirectly, is one of these."""
    assert "torch" in closure("worker")
    assert forbidden not in closure("api")


def test_the_worker_image_installs_the_torch_that_set_up_installs():
    pins = (ROOT / "constraints.txt").read_text()
    versions = re.findall(r"torch==([\d.]+)", (ROOT / "deploy" / "docker" / "worker.Dockerfile").read_text())
    assert versions
    assert all(f"\ntorch=={version}\n" in pins for version in versions)


def closure(extra: str) -> set[str]:
    """The names of all distributions that `kolors-queue[extra]` brings along, by what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"][extra]]
    found: set[str] = set()
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        found.add(name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        waiting += _requirements(name, requirement.extras)
    return found


def _requirements(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed distribution asks for; nothing for one that this platform does without."""
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    asked = [Requirement(text) for text in texts]
    environments = [{"extra": extra} for extra in [*extras, ""]]
    return [one for one in asked if not one.marker or any(one.marker.evaluate(each) for each in environments)]
