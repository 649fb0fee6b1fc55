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
def hand(redis_url: str) -> Iterator[Hand]:
    hand = Hand(redis_url)
    yield hand
    hand.close()
