"""One API for all calls of a module: what one call breaks, the next ones show."""

from collections.abc import Iterator

import httpx
import pytest

from api.settings import ApiKey, ApiSettings
from shared.queue.connect import open_sync
from tests.conftest import Valkey
from tests.integration.api.live import live

KEY = {"Authorization": "Key id:secret"}


@pytest.fixture(scope="module")
def fuzzed(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    client = open_sync(valkey.url)
    client.execute_command("FLUSHALL")
    settings = ApiSettings(
        data_dir=tmp_path_factory.mktemp("fuzzed"),
        redis_url=valkey.url,
        api_keys=(ApiKey("id", "secret"),),
        sync_timeout_s=0.05,
        max_body_bytes=2_000_000,
    )
    with live(settings) as url, httpx.Client(base_url=url, headers=KEY, trust_env=False, timeout=30) as caller:
        yield caller
        assert caller.get("/health").status_code == 200
    client.execute_command("FLUSHALL")
    client.close()
