"""Keys: what is spelled where."""

from pathlib import Path

from shared.queue import keys, scripts


def test_tenants_do_not_share_idempotency_keys() -> None:
    assert keys.idempotency("a", "k") != keys.idempotency("b", "k")
    assert keys.idempotency("a", "bk") != keys.idempotency("ab", "k")


def test_what_a_client_wrote_is_not_part_of_a_key() -> None:
    assert "\n" not in keys.idempotency("a", "x\ny")


def test_no_script_spells_a_key() -> None:
    for path in Path(scripts.__file__).with_name("lua").glob("*.lua"):
        assert keys.PREFIX not in path.read_text(), path
