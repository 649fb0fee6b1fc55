"""The programs of one running system, and the supervisor's configuration that says so. Starts nothing.

They are started in the order of their priority and stopped in the reverse one, each when the one before has ended:
workers hand back what they hold while the API still answers, and Redis goes last.
Exit status 2 is every program's word for "my settings are wrong": the only one after which it is not started again.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.settings import LocalSettings

ROOT = Path(__file__).resolve().parents[2]
WRONG_SETTINGS = 2
READY = "ready"
"""The program that waits until the system answers, says so, and ends."""
MARGIN_S = 10
"""Beyond the time that a program gives itself to stop, before it is killed."""


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    priority: int
    stop_s: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    once: bool = False


def programs(settings: LocalSettings, redis: Sequence[str] | None) -> list[Program]:
    """Everything that runs, with `redis` as the command of our own one if there is any."""
    python = sys.executable
    listed: list[Program] = []
    if redis:
        listed.append(Program("redis", redis, 10, stop_s=30))
    listed.append(Program("api", (python, "-m", "api"), 20, stop_s=settings.api_grace_s + MARGIN_S))
    listed.append(Program("courier", (python, "-m", "worker.courier"), 30, stop_s=30 + MARGIN_S))
    for index in range(settings.workers):
        name = f"worker-{index + 1}" if settings.workers > 1 else "worker"
        own = {"WORKER_NAME": name, "WORKER_INDEX": str(index)}
        stop_s = settings.worker_grace_s + MARGIN_S
        listed.append(Program(name, (python, "-m", "worker.app"), 40, stop_s, own))
    listed.append(Program(READY, (python, "-m", "deploy.local.ready", settings.url), 50, stop_s=2, once=True))
    return listed


def configuration(settings: LocalSettings, listed: Sequence[Program]) -> str:
    """The supervisor's configuration file."""
    head = f"""\
[supervisord]
nodaemon = true
silent = true
logfile = {_value(settings.log_dir / "supervisor.log")}
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = {_value(settings.run_dir / "supervisor.pid")}
directory = {_value(ROOT)}
minfds = 64
minprocs = 16
"""
    return "\n".join([head, *(_section(settings, program) for program in listed)])


def _section(settings: LocalSettings, program: Program) -> str:
    leashed = (sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py")), *program.command)
    environment = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    return f"""\
[program:{program.name}]
command = {_value(shlex.join(leashed))}
directory = {_value(ROOT)}
environment = {environment}
priority = {program.priority}
startsecs = 0
autorestart = {"false" if program.once else "unexpected"}
exitcodes = {0 if program.once else WRONG_SETTINGS}
stopwaitsecs = {program.stop_s}
killasgroup = true
redirect_stderr = true
stdout_logfile = {_value(_value(settings.log_dir / program.name))}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
stdout_events_enabled = true
"""


def _value(text: str | Path) -> str:
    """A configuration file reads % as its own; supervisor reads `stdout_logfile` twice."""
    return str(text).replace("%", "%%")
