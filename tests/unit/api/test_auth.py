"""Who a caller is, by the Authorization header alone."""

import pytest

from api.auth import ANONYMOUS, Keyring
from api.settings import ApiKey
from shared.errors import BadCredentials

CLOSED = Keyring([ApiKey("alice", "one"), ApiKey("alice", "two"), ApiKey("bob", "three")])
OPEN = Keyring([])


def test_both_schemes_and_both_secrets_are_one_tenant() -> None:
    tenants = {
        CLOSED.tenant(f"{scheme} alice:{secret}") for scheme in ("Key", "Bearer", "key") for secret in ("one", "two")
    }
    assert len(tenants) == 1
    assert CLOSED.tenant("Key bob:three") not in tenants


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Key",
        "Key ",
        "Key alice",
        "Key alice:",
        "Key alice:three",
        "Key carol:one",
        "Basic alice:one",
        "alice:one",
        "Key älice:one",
    ],
)
def test_a_stranger_is_refused(header: str | None) -> None:
    with pytest.raises(BadCredentials, match="invalid key credentials"):
        CLOSED.tenant(header)


def test_without_keys_every_key_is_its_own_tenant() -> None:
    assert OPEN.tenant(None) == ANONYMOUS
    assert OPEN.tenant("Key a:b") == OPEN.tenant("Bearer a:b")
    assert len({OPEN.tenant(f"Key {key}") for key in ("a:b", "a:c", "anonymous")} | {ANONYMOUS}) == 4


def test_a_secret_is_not_shown() -> None:
    assert "one" not in repr(ApiKey("alice", "one"))
