"""The programs of one system, and that the supervisor's configuration says what is meant."""

import configparser
import shlex
from pathlib import Path

from deploy.local.programs import READY, configuration, programs
from deploy.local.settings import LocalSettings, read


def settings(**variables: str) -> LocalSettings:
    return read({"DATA_DIR": "/tmp/100% of it/data", **variables})


def sections(settings: LocalSettings, redis: list[str] | None = None) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(configuration(settings, programs(settings, redis)))
    return parser


def test_one_worker_is_called_worker():
    assert [program.name for program in programs(settings(), ["redis"])] == ["redis", "api", "courier", "worker", READY]


def test_several_workers_are_numbered_and_know_their_device():
    listed = programs(settings(WORKERS="3"), None)
    workers = [program.environment for program in listed if program.name.startswith("worker")]
    assert [own["WORKER_NAME"] for own in workers] == ["worker-1", "worker-2", "worker-3"]
    assert [own["WORKER_INDEX"] for own in workers] == ["0", "1", "2"]


def test_a_foreign_redis_is_not_started():
    assert "redis" not in [program.name for program in programs(settings(), None)]


def test_workers_stop_first_and_redis_last():
    listed = sorted(programs(settings(), ["redis"]), key=lambda program: -program.priority)
    assert [program.name for program in listed] == [READY, "worker", "courier", "api", "redis"]


def test_a_worker_is_given_more_time_than_it_takes_itself():
    worker = next(program for program in programs(settings(GRACE_S="90"), None) if program.name == "worker")
    assert worker.stop_s > 90


def test_every_program_is_leashed():
    parser = sections(settings(WORKERS="2"), ["/opt/valkey-server", "/some dir/redis.conf"])
    commands = [shlex.split(parser[name]["command"]) for name in parser.sections() if name.startswith("program:")]
    assert all(Path(command[3]).name == "leash.py" for command in commands)
    assert commands[0][4:] == ["/opt/valkey-server", "/some dir/redis.conf"]


def test_only_wrong_settings_are_not_answered_with_another_start():
    parser = sections(settings())
    assert (parser["program:api"]["autorestart"], parser["program:api"]["exitcodes"]) == ("unexpected", "2")
    assert parser[f"program:{READY}"]["autorestart"] == "false"


def test_a_percent_sign_in_a_path_survives_the_interpolation():
    parser = sections(settings())
    assert parser["supervisord"]["pidfile"] == "/tmp/100%% of it/data/run/supervisor.pid"
