"""Who a caller is, by the Authorization header alone."""

import hmac
from contextlib import suppress
from typing import Any

import pytest

from api.auth import ANONYMOUS, Keyring, digest
from api.settings import ApiKey
from shared.errors import BadCredentials, ServiceUnavailable
from shared.queue.records import Secret, StoredKey

CLOSED = Keyring([ApiKey("alice", "one"), ApiKey("alice", "two"), ApiKey("bob", "three")])
OPEN = Keyring([])


def tenant(keyring: Keyring, header: str | None) -> str:
    return keyring.caller(header).tenant


def stored(id: str, *secrets: str, until_ms: int | None = None, **more: Any) -> StoredKey:
    return StoredKey(id, tuple(Secret(digest(f"{id}:{secret}"), until_ms) for secret in secrets), **more)


def test_both_schemes_and_both_secrets_are_one_tenant() -> None:
    tenants = {
        tenant(CLOSED, f"{scheme} alice:{secret}") for scheme in ("Key", "Bearer", "key") for secret in ("one", "two")
    }
    assert len(tenants) == 1
    assert tenant(CLOSED, "Key bob:three") not in tenants


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
        tenant(CLOSED, header)


def test_without_keys_every_key_is_its_own_tenant() -> None:
    assert tenant(OPEN, None) == ANONYMOUS
    assert tenant(OPEN, "Key a:b") == tenant(OPEN, "Bearer a:b")
    assert len({tenant(OPEN, f"Key {key}") for key in ("a:b", "a:c", "anonymous")} | {ANONYMOUS}) == 4


def test_a_secret_is_not_shown() -> None:
    assert "one" not in repr(ApiKey("alice", "one"))


def test_a_key_made_at_run_time_is_accepted_and_closes_the_server() -> None:
    keyring = Keyring([])
    keyring.replace([stored("carol", "four")], now_ms=0)
    assert tenant(keyring, "Key carol:four") != tenant(OPEN, "Key carol:four")
    for header in (None, "Key any:thing", "Key carol:five"):
        with pytest.raises(BadCredentials):
            keyring.caller(header)


def test_a_key_keeps_its_tenant_when_it_moves_out_of_the_settings() -> None:
    keyring = Keyring([ApiKey("alice", "one")])
    before = tenant(keyring, "Key alice:one")
    keyring.replace([stored("alice", "new")], now_ms=0)
    assert tenant(keyring, "Key alice:new") == before
    with pytest.raises(BadCredentials):
        keyring.caller("Key alice:one")


def test_a_revoked_key_stays_refused_wherever_it_was_made_and_leaves_the_server_closed() -> None:
    keyring = Keyring([ApiKey("alice", "one")])
    keyring.replace([stored("alice", revoked=True), stored("carol", "four", revoked=True)], now_ms=0)
    for header in ("Key alice:one", "Key carol:four", "Key any:thing"):
        with pytest.raises(BadCredentials):
            keyring.caller(header)


def test_revoking_the_only_key_that_was_made_leaves_the_server_closed() -> None:
    keyring = Keyring([])
    keyring.replace([stored("alice", revoked=True, created_ms=1)], now_ms=2)
    with pytest.raises(BadCredentials):
        keyring.caller("Key any:thing")


def test_revoking_a_key_that_was_never_made_turns_nobody_away() -> None:
    keyring = Keyring([])
    keyring.replace([stored("alcie", revoked=True)], now_ms=0)
    assert tenant(keyring, "Key any:thing")


def test_a_secret_expires_when_it_should() -> None:
    keyring = Keyring([])
    key = stored("carol", "old", until_ms=1000)
    keyring.replace([key], now_ms=999)
    assert tenant(keyring, "Key carol:old")
    keyring.replace([key], now_ms=1000)
    with pytest.raises(BadCredentials):
        keyring.caller("Key carol:old")


@pytest.mark.parametrize(
    ("own", "limits"), [((None, None), (3, 5)), ((1, None), (1, 5)), ((0, 0), (None, None))], ids=str
)
def test_a_keys_own_limits_go_before_the_servers(
    own: tuple[int | None, int | None], limits: tuple[int | None, int | None]
) -> None:
    keyring = Keyring([ApiKey("alice", "one")], max_running=3, max_queued=5)
    keyring.replace([stored("carol", "four", max_running=own[0], max_queued=own[1])], now_ms=0)
    alice, carol = keyring.caller("Key alice:one"), keyring.caller("Key carol:four")
    assert (alice.max_running, alice.max_queued) == (3, 5)
    assert (carol.max_running, carol.max_queued) == limits


def test_where_a_key_is_required_having_none_is_not_enough() -> None:
    with pytest.raises(BadCredentials):
        Keyring([], required=True).caller("Key any:thing")


def test_before_the_keys_are_known_nobody_is_let_in_or_sent_away() -> None:
    keyring = Keyring([ApiKey("alice", "one")], known=False)
    for header in (None, "Key alice:one", "Key any:thing"):
        with pytest.raises(ServiceUnavailable):
            keyring.caller(header)


def test_a_permission_holds_as_long_as_the_key_that_it_was_given_to() -> None:
    keyring = Keyring([ApiKey("alice", "one")])
    carol = stored("carol", "four", created_ms=1)
    keyring.replace([carol], now_ms=2)
    alice, carols = tenant(keyring, "Key alice:one"), tenant(keyring, "Key carol:four")
    for given in (alice, carols):
        keyring.check(given)
    keyring.replace([stored("carol", "five", created_ms=1)], now_ms=3)
    keyring.check(carols)
    keyring.replace([stored("carol", created_ms=1, revoked=True), stored("alice", revoked=True)], now_ms=4)
    for given in (alice, carols, tenant(OPEN, "Key alice:one"), ANONYMOUS, ""):
        with pytest.raises(BadCredentials):
            keyring.check(given)


def test_a_permission_holds_where_any_key_does_and_only_there() -> None:
    anyones = (ANONYMOUS, tenant(OPEN, "Key any:thing"))
    keyring = Keyring([])
    for given in anyones:
        keyring.check(given)
    keyring.replace([stored("carol", "four")], now_ms=0)
    for closed in (keyring, CLOSED, Keyring([], required=True)):
        for given in anyones:
            with pytest.raises(BadCredentials):
                closed.check(given)
    with pytest.raises(ServiceUnavailable):
        Keyring([], known=False).check(ANONYMOUS)


@pytest.mark.parametrize("header", ["Key alice:one", "Key alice:two", "Key alice:no", "Key nobody:one", "Key nothing"])
def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    """Every answer comes out of whole digests, compared by the one function that is made for it."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with suppress(BadCredentials):
        CLOSED.caller(header)
    assert len(compared) == (2 if "alice" in header else 1)
    assert {len(side) for pair in compared for side in pair} == {32}


def test_no_secret_is_kept() -> None:
    keyring = Keyring([ApiKey("alice", "topsecret")])
    assert "topsecret" not in repr(vars(keyring))
