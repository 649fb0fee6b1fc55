"""What is kept of a key that this version cannot read is a key that lets nobody in."""

import json

import pytest

from shared.queue import decode

DIGEST = "ab" * 32


def entry(**other: object) -> str:
    """As this version writes it, but for what is `other`."""
    kept = {"id": "id", "secrets": [{"sha256": DIGEST, "until_ms": None}], "created_ms": 1}
    return json.dumps(kept | other)


UNREADABLE = {
    "text": "secret",
    "list": "[]",
    "nothing": "{}",
    "nobody": entry(secrets=[]),
    "renamed": entry(secrets=[{"hash": DIGEST}]),
    "endless": entry(secrets=[{"sha256": DIGEST}]),
    "no digest": entry(secrets=[{"sha256": "secret", "until_ms": None}]),
    "until when": entry(secrets=[{"sha256": DIGEST, "until_ms": "never"}]),
    "until long ago": entry(secrets=[{"sha256": DIGEST, "until_ms": -1}]),
    "until the end": entry(secrets=[{"sha256": DIGEST, "until_ms": 10**17}]),
    "a limit": entry(max_running="many"),
    "fewer than none": entry(max_running=-1),
    "no room at all": entry(max_queued=-1),
    "before all": entry(created_ms=-1),
    "after all": entry(created_ms=10**17),
    "perhaps": entry(revoked="perhaps"),
    "another's": entry(id="other"),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_makes_no_sense_is_a_key_without_secrets_under_its_own_name(text: str) -> None:
    stored = decode.stored_keys([5, "1", ["id", text, "good", entry(id="good", new_field=1)]])
    assert stored.keys is not None
    good, odd = stored.keys
    assert (good.id, good.readable, good.secrets[0].sha256) == ("good", True, DIGEST)
    assert (odd.id, odd.readable, odd.secrets) == ("id", False, ())
