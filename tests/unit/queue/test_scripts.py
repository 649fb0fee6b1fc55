"""The Lua files: how they are put together, and the rules that they keep."""

import hashlib
import re
from pathlib import Path

import pytest

from shared.queue import commands, doorbell, keys, scripts

LUA = Path(scripts.__file__).with_name("lua")
FILES = sorted(LUA.glob("*.lua"))
VERBS = [path for path in FILES if not path.name.startswith("_")]
REDIS_7_0 = frozenset({
    "DECRBY", "EXISTS", "EXPIRE", "GET", "HDEL", "HGET", "HGETALL", "HINCRBY", "HMGET", "HSET", "INCR", "INCRBY",
    "LLEN", "LPUSH", "PEXPIREAT", "PUBLISH", "SADD", "SCARD", "SET", "SMEMBERS", "SREM", "TIME", "XADD", "XRANGE",
    "ZADD", "ZCARD", "ZCOUNT", "ZINCRBY", "ZRANGE", "ZRANGEBYSCORE", "ZRANK", "ZREM", "ZREMRANGEBYSCORE",
    "ZREVRANGE", "ZSCORE",
})  # fmt: skip
"""What the scripts may call: all of it is in Redis 7.0 (and 6.2), none of it scans; what is
read whole is as small as what runs of one tenant, or as the tenants with a limit, or as the keys."""


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_fits_on_a_screen_and_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith("-- Purpose: " if path in VERBS else "-- Shared by every verb: ")


@pytest.mark.parametrize("path", VERBS, ids=name)
def test_a_verbs_header_names_its_keys_arguments_and_returns(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("-- ")]
    for part in ("KEYS: ", "ARGV: ", "Returns: "):
        assert any(line.startswith(f"-- {part}") for line in header), part


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_commands_of_redis_7_0_are_called(path: Path) -> None:
    called = set(re.findall(r"redis\.call\('(\w+)'", path.read_text()))
    assert called <= REDIS_7_0
    assert path.read_text().count("redis.call(") == len(re.findall(r"redis\.call\('\w+'", path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_time_is_redis_own_and_chance_is_not_used(path: Path) -> None:
    code = re.sub(r"--.*", "", path.read_text())
    assert not re.search(r"\b(os|math\.random|tostring)\b", code)


@pytest.mark.parametrize("path", VERBS, ids=name)
def test_a_script_is_known_by_the_sha_of_all_its_text(path: Path) -> None:
    script = scripts.load(path.stem)
    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()
    assert script.text.endswith(path.read_text())
    assert doorbell.template() in script.text
    assert all(f"'{key}'" in script.text for key in keys.IN_LUA.values())


def test_every_lua_file_has_a_command_of_its_name() -> None:
    assert [verb for verb in scripts.verbs() if not callable(getattr(commands, verb, None))] == []


def test_an_unknown_verb_has_no_script() -> None:
    with pytest.raises(FileNotFoundError):
        scripts.load("destroy")


def test_the_doorbell_can_stand_in_a_lua_string() -> None:
    assert "]==]" not in doorbell.template()
    assert doorbell.template().count(doorbell.NUMBER) == 4
    assert "%" not in doorbell.NUMBER
