"""What the worker's tests share: pictures, submissions, waiting for what happens, workers here and in processes.

Nothing here sleeps: results are waited for by their pokes, processes by what they log.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeVar, cast

from PIL import Image

from shared.egress import Allow
from shared.files.local import LocalStore
from shared.queue import commands, keys
from shared.queue.commands import Command
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from shared.queue.records import Event, Held, Result, Submission, View
from shared.queue.states import State
from worker.aside import Aside
from worker.context import Context
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
from worker.settings import WorkerSettings
from worker.station import Station

T = TypeVar("T")

DEADLINE_S = 40
RETENTION_S = 3600
ROOT = Path(__file__).resolve().parents[3]


def png(size: tuple[int, int] = (64, 64), colour: object = (200, 30, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, cast("Any", colour)).save(file, "PNG")
    return file.getvalue()


def gif(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("P", size).save(file, "GIF")
    return file.getvalue()


def noise(size: tuple[int, int]) -> bytes:
    """Hard to compress."""
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(file, "PNG")
    return file.getvalue()


class Floor:
    """A queue and a store, as the API sees them."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.redis_url = redis_url
        self.folder = folder
        self.redis = open_sync(redis_url, timeout_s=10)
        self.store = LocalStore(folder / "files")

    def do(self, command: Command[T]) -> T:
        return run_sync(self.redis, command)

    def submit(self, picture: bytes | None = None, *, tenant: str = "ann", **more: Any) -> str:
        """The id of a new request; `more` are fields of the submission or of the input."""
        id = str(uuid.uuid4())
        given: dict[str, Any] = {name: more.pop(name) for name in list(more) if name in Submission.__slots__}
        if "image_url" not in more and "image_key" not in given:
            given["image_key"] = f"inputs/{id}/{uuid.uuid4().hex}"
            content = png() if picture is None else picture
            self.store.put(given["image_key"], content, content_type="image/png", expires_at=None)
        wanted = {"prompt": "a cat", "image_url": "data:,", "seed": 7, "num_inference_steps": 4, **more}
        cost_px = 1024 * 1024 * int(wanted.get("num_images", 1))
        fields: dict[str, Any] = {"cost_px": cost_px, "steps": 4, "base": "http://here", **given}
        submission = Submission(id=id, tenant=tenant, input=json.dumps(wanted), **fields)
        return self.do(commands.submit(submission, retention_s=RETENTION_S)).id

    def cancel(self, id: str) -> None:
        self.do(commands.cancel(id, "ann", retention_s=RETENTION_S))

    def view(self, id: str) -> View:
        view = self.do(commands.view(id))
        assert view is not None
        return view

    def crashes(self, id: str) -> int:
        return int(str(self.redis.execute_command("HGET", keys.request(id), "crashes")))

    def events(self, id: str) -> list[Event]:
        return self.do(commands.events(id))

    def file(self, url: str) -> bytes:
        return b"".join(self.store.read(url.removeprefix("http://here/files/")))

    def until(self, id: str, happened: Callable[[View], bool]) -> View:
        """Looks again at every poke of the request."""
        ear = self.redis.pubsub()
        ear.subscribe(keys.poke(id))
        deadline_s = time.monotonic() + DEADLINE_S
        try:
            while not happened(view := self.view(id)):
                left_s = deadline_s - time.monotonic()
                assert left_s > 0, f"{view}\n{self.events(id)}"
                ear.get_message(ignore_subscribe_messages=False, timeout=left_s)
        finally:
            ear.close()
        return view

    def finished(self, id: str) -> Result:
        """Waits for the end."""
        self.until(id, lambda view: view.state.is_final)
        result = self.do(commands.result(id))
        assert result is not None
        return result

    def output(self, id: str) -> dict[str, Any]:
        """Waits for a success."""
        result = self.finished(id)
        assert result.state is State.SUCCEEDED, result
        body = result.body if result.body_key is None else b"".join(self.store.read(result.body_key)).decode()
        return json.loads(body)

    def problem(self, id: str) -> dict[str, Any]:
        """Waits for a 422, and gives its only item."""
        result = self.finished(id)
        assert (result.state, result.status) == (State.FAILED, 422), result
        [item] = json.loads(result.body)["detail"]
        return item

    def running(self, id: str) -> Held:
        """Waits until somebody holds it."""
        self.until(id, lambda view: view.state is State.RUNNING)
        number, claim = cast("list[str]", self.redis.execute_command("HMGET", keys.request(id), "number", "claim"))
        return Held(id, int(number), claim)

    def close(self) -> None:
        self.redis.close()


class Workplace:
    """A worker in this process, without Celery. `answer` rings its doorbell in a thread. `redis` is what it speaks to
    the queue through, where that is to be disturbed; `longest_s` is how long a picture may take to come."""

    def __init__(
        self, floor: Floor, runner: Any = None, *, redis: Any = None, longest_s: float = DEADLINE_S, **settings: Any
    ) -> None:
        options: dict[str, Any] = {"concurrency": 4, "kolors_model": "fake", "retention_s": RETENTION_S, **settings}
        self.settings = WorkerSettings(data_dir=floor.folder, redis_url=floor.redis_url, **options)
        self.engine: Engine[Any, Any] = Engine(runner or FakeRunner())
        self.engine.start()
        self.context = Context(
            settings=self.settings,
            worker=f"w-{uuid.uuid4().hex[:8]}",
            redis=redis or open_sync(floor.redis_url),
            store=floor.store,
            allow=Allow.parse(self.settings.egress_allow),
            engine=self.engine,
            device="none",
            aside=Aside(self.settings.concurrency, longest_s=longest_s),
            encoders=ThreadPoolExecutor(2),
        )
        self.exits: SimpleQueue[int] = SimpleQueue()
        self.station = Station(self.context, end=self.exits.put)
        self.station.start()
        self._threads = ThreadPoolExecutor(self.settings.concurrency)

    def answer(self) -> "Future[int]":
        return self._threads.submit(self.station.answer)

    def close(self) -> None:
        self.station.drain(0)
        self._threads.shutdown()
        self.station.close()


class Worker:
    """A real process, of a module of ours or a whole command. `said` waits for a line of its log."""

    def __init__(self, program: str | Sequence[str], folder: Path, redis_url: str, **environment: str) -> None:
        known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"DATA_DIR": str(folder), "REDIS_URL": redis_url, "KOLORS_MODEL": "fake"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", program] if isinstance(program, str) else program,
            cwd=ROOT,
            env=known | own | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self, words: str) -> None:
        with self._more:
            self._more.wait_for(lambda: self._ended or any(words in line for line in self.lines), DEADLINE_S)
            assert any(words in line for line in self.lines), "".join(self.lines)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self) -> int:
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        stderr = cast("IO[str]", self.process.stderr)
        with stderr:
            for line in stderr:
                with self._more:
                    self.lines.append(line)
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


@contextmanager
def open_workplace(floor: Floor, runner: Any = None, **settings: Any) -> Generator[Workplace]:
    workplace = Workplace(floor, runner, **settings)
    try:
        yield workplace
    finally:
        workplace.close()


@contextmanager
def silent_server() -> Generator[str]:
    """Accepts a call and never answers it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/picture.png"
