"""One store of each kind, opened as the product opens it; the S3 one stands on a real server."""

from pathlib import Path

import pytest

from shared.files.base import Store
from shared.files.open import open_store
from shared.settings import Settings


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    url = f"file://{tmp_path / 'files'}"
    if request.param == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}"
    monkeypatch.setenv("STORAGE_URL", url)
    store = open_store(Settings())
    assert store.id
    return store
