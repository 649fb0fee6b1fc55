"""The README's table of settings is complete, and its defaults are the real ones."""

import re
from pathlib import Path
from typing import Any

import pytest

from api.settings import ApiSettings
from deploy.local.settings import read
from shared.settings import Settings
from worker.settings import CourierSettings, WorkerSettings

ROOT = Path(__file__).parents[3]
READERS: dict[str, type[Settings]] = {"a": ApiSettings, "w": WorkerSettings, "c": CourierSettings}
LAUNCHER = {"HOST", "PORT", "DATA_DIR", "WORKERS", "TLS_CERT_FILE", "REDIS_URL", "REDIS_FSYNC"} | {
    "REDIS_MAXMEMORY",
    "GRACE_S",
    "SHUTDOWN_GRACE_S",
}
"""Everything that `deploy.local.settings` takes from the environment."""


def table() -> dict[str, tuple[str, str]]:
    """Name → default and readers, of the rows that name one variable."""
    rows = re.findall(
        r"^\| `([A-Z0-9_]+)` \| (?:`(.*?)` )?\| ([lawc]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names))
    return {name: (default, readers) for name, default, readers in rows}


def shown(value: Any) -> str:
    """A default as somebody would type it."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value)


@pytest.mark.parametrize("reader", READERS)
def test_every_setting_is_listed_with_its_default(reader: str):
    for field, about in READERS[reader].model_fields.items():
        name = field.upper()
        assert name in table(), f"{name} is not in the README"
        default, readers = table()[name]
        assert reader in readers, name
        if about.default_factory is None:
            assert default == shown(about.default), name


def test_nothing_is_listed_that_nobody_reads():
    for name, (_, readers) in table().items():
        real = {letter for letter, kind in READERS.items() if name.lower() in kind.model_fields}
        real |= {"l"} if name in LAUNCHER else set()
        assert set(readers) == real, name


def test_the_launchers_settings_are_what_it_reads():
    values = {
        "HOST": "::1",
        "PORT": "1",
        "DATA_DIR": "/d",
        "WORKERS": "2",
        "TLS_CERT_FILE": "/c",
        "REDIS_URL": "r",
        "REDIS_FSYNC": "no",
        "REDIS_MAXMEMORY": "0",
        "SHUTDOWN_GRACE_S": "7",
        "GRACE_S": "8",
    }
    assert set(values) == LAUNCHER
    for name, value in values.items():
        assert read({name: value}) != read({}), name


def test_the_launchers_defaults_are_the_tables():
    settings = read({})
    told = {name: default for name, (default, _) in table().items()}
    assert told["PORT"] == str(settings.port)
    assert told["HOST"] == settings.host
    assert told["WORKERS"] == str(settings.workers)
    assert told["REDIS_FSYNC"] == settings.redis_fsync
    assert told["REDIS_MAXMEMORY"] == settings.redis_maxmemory
    assert told["DATA_DIR"] == settings.data_dir.name
    assert (told["GRACE_S"], told["SHUTDOWN_GRACE_S"]) == (str(settings.worker_grace_s), str(settings.api_grace_s))
