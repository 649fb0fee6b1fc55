"""An API on a real port over a real Valkey, and a hand that does a worker's part."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.settings import ApiKey, ApiSettings
from tests.integration.api.live import live
from tests.integration.api.worker import Hand

KEY = {"Authorization": "Key id:secret"}


@pytest.fixture
def keyed(redis_url: str, tmp_path: Path) -> ApiSettings:
    """Two tenants, a file store, and a pace that suits tests."""
    return ApiSettings(
        data_dir=tmp_path,
        redis_url=redis_url,
        api_keys=(ApiKey("id", "secret"), ApiKey("other", "secret")),
        max_body_bytes=200_000,
        max_download_bytes=50_000,
        sse_keepalive_s=0.2,
        shutdown_grace_s=0,
    )


@pytest.fixture
def base(keyed: ApiSettings) -> Iterator[str]:
    with live(keyed) as url:
        yield url


@pytest.fixture
def client(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, headers=KEY, trust_env=False, timeout=30) as caller:
        yield caller


@pytest.fixture
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, or a bucket where a test asks for one by `s3`."""
    if getattr(request, "param", "file") == "s3":
        return f"s3://{request.getfixturevalue('s3_bucket')}"
    return f"file://{tmp_path / 'files'}"


@pytest.fixture
def api(settings: ApiSettings) -> Iterator[httpx.Client]:
    """Ready, and by the module's own `settings`."""
    with live(settings) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        client.get("/ready")
        yield client


@pytest.fixture
def hand(redis_url: str) -> Iterator[Hand]:
    hand = Hand(redis_url)
    yield hand
    hand.close()
