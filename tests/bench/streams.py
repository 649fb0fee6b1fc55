"""Holds many event streams open at once, some of them by clients that never read, and weighs the API meanwhile.

    .venv/bin/python tests/bench/streams.py [--streams 10000] [--deaf 1000]

Each stream is of a request of its own, so that nothing is shared. A part of the requests makes steps, all are cancelled
in the end: what their streams are told is counted, and timed from the write in Redis. The deaf take nothing of streams
that have much to tell. Clients are processes of their own, on several loopback addresses.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import secrets
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from load import quantile
from stand import Child, stand

from shared.queue import commands
from shared.queue.connect import SyncRedis, open_sync
from shared.queue.execute import run_sync
from shared.queue.records import Attempt, Note, Submission
from shared.wire.queue import new_request_id

PER_ADDRESS = 10_000
AT_ONCE = 200
"""Connections that are on their way: more at once would be lost in the listener's queue."""
STEPPING = 500
STEPS = 3
WORD = "x" * 1000
WORDS = 1_000
LOUD = 4
SILENT_S = 60
PATIENCE_S = 75


@dataclass(slots=True)
class Heard:
    """What the streams of a client were told: how often each status, and when each step was heard of."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    steps_at: dict[tuple[str, int], float] = field(default_factory=dict[tuple[str, int], float])
    open: int = 0
    over: int = 0


def requests(redis: SyncRedis, count: int) -> list[str]:
    """Puts so many into the queue, past HTTP: this is not what is measured."""
    ids = [new_request_id() for _ in range(count)]
    for id_ in ids:
        submission = Submission(id=id_, tenant="anonymous", input="{}", cost_px=1, steps=STEPS, base="http://here")
        run_sync(redis, commands.submit(submission, retention_s=600))
    return ids


async def listen(port: int, id: str, number: int, heard: Heard, opening: asyncio.Semaphore) -> None:
    """One stream until it ends."""
    await opening.acquire()
    address = (f"127.0.1.{1 + number // PER_ADDRESS}", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=address, limit=4096)
    path = f"/fal-ai/kolors/requests/{id}/status/stream"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    first = True
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        said = json.loads(line[6:])
        if first:
            first = False
            heard.open += 1
            opening.release()
        heard.statuses[said["status"]] += 1
        if said["status"] == "IN_PROGRESS":
            heard.steps_at.setdefault((id, said["progress"]["step"]), time.time())
    heard.over += 1
    writer.close()


async def client(port: int, ids: list[str], pipe: Connection) -> None:
    heard, opening = Heard(), asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(listen(port, id_, number, heard, opening)) for number, id_ in enumerate(ids)]
    while True:
        if await asyncio.to_thread(pipe.recv) == "end":
            break
        pipe.send((heard.open, heard.over, heard.statuses, heard.steps_at))
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    pipe.send([repr(result) for result in results if isinstance(result, Exception)][:3])


def client_process(port: int, ids: list[str], pipe: Connection) -> None:
    many_files()
    asyncio.run(client(port, ids, pipe))


def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def deaf(port: int, ids: list[str], count: int) -> list[socket.socket]:
    """Connections that ask for a stream and take nothing of it."""
    made: list[socket.socket] = []
    for number in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400
        )  # as outside: the loopback's buffers are huge
        connection.connect(("127.0.0.1", port))
        path = f"/fal-ai/kolors/requests/{ids[number % len(ids)]}/status/stream?logs=1"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        made.append(connection)
    return made


def connections_of(api: Child) -> int:
    return sum(1 for _ in Path(f"/proc/{api.process.pid}/fd").iterdir())


def claim(redis: SyncRedis, count: int) -> list[Attempt]:
    found: list[Attempt] = []
    while len(found) < count:
        asked = commands.claim("w", secrets.token_hex(16), budget_px=10**9, lease_ms=600_000, retention_s=600)
        attempt = run_sync(redis, asked)
        assert attempt is not None
        found.append(attempt)
    return found


def report(what: str, api: Child, base_mib: float) -> None:
    now = settled_mib(api)
    print(f"{what:52} {now:8.1f} MiB   {now - base_mib:+8.1f}", flush=True)


def settled_mib(api: Child) -> float:
    """When it has not changed for a second."""
    before = api.memory_mib
    while True:
        time.sleep(1)
        now = api.memory_mib
        if abs(now - before) < 0.5:
            return now
        before = now


class Clients:
    def __init__(self, port: int, ids: list[str]) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.pipe = ours
        self.process = multiprocessing.get_context("spawn").Process(target=client_process, args=(port, ids, theirs))
        self.process.start()
        self.until("opened", len(ids), "open")

    def heard(self) -> Heard:
        self.pipe.send("tell")
        opened, over, statuses, steps_at = self.pipe.recv()
        return Heard(statuses, steps_at, opened, over)

    def until(self, what: str, wanted: int, count: str, within_s: float = 300) -> Heard:
        deadline = time.monotonic() + within_s
        while True:
            heard = self.heard()
            have = len(heard.steps_at) if count == "steps" else getattr(heard, count)
            if have >= wanted:
                return heard
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {have} of {wanted}")
            time.sleep(0.1)

    def gone(self) -> None:
        """Without a goodbye."""
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        self.pipe.send("end")
        for fault in self.pipe.recv():
            print("a stream broke:", fault)
        self.process.join(60)


def measure(streams: int, deaf_count: int, root: Path) -> None:
    with stand(root) as made, made.api() as (api, port, _):
        redis = open_sync(made.redis_url)
        ids = requests(redis, streams)
        base_mib = settled_mib(api)
        print(f"{'before':52} {base_mib:8.1f} MiB")
        Clients(port, ids).gone()
        report("… after all have hung up without a word", api, base_mib)
        began = time.monotonic()
        clients = Clients(port, ids)
        print(f"{streams} streams open after {time.monotonic() - began:.1f} s")
        report(f"{streams} streams", api, base_mib)
        step(redis, clients)
        report("… after steps of some", api, base_mib)
        time.sleep(SILENT_S)
        report(f"… after {SILENT_S} silent seconds", api, base_mib)
        for id_ in ids[STEPPING:]:
            run_sync(redis, commands.cancel(id_, "anonymous", retention_s=600))
        heard = clients.until("ended", streams - STEPPING, "over")
        print(f"heard: {dict(heard.statuses)}; ended: {heard.over}")
        clients.end()
        report("… after all have gone", api, base_mib)
        ignored(redis, api, port, deaf_count, base_mib)
        redis.close()


def step(redis: SyncRedis, clients: Clients) -> None:
    told: dict[tuple[str, int], float] = {}
    attempts = claim(redis, STEPPING)
    for number in range(1, STEPS + 1):
        for attempt in attempts:
            told[attempt.held.id, number] = time.time()
            run_sync(redis, commands.report(attempt.held, Note(number, STEPS)))
    heard = clients.until("steps", STEPPING * (STEPS + 1), "steps")  # each begins with a step 0
    delays = sorted(heard.steps_at[key] - at for key, at in told.items() if key in heard.steps_at)
    print(f"{len(delays)} of {len(told)} steps heard, p50 {quantile(delays, 0.5) * 1000:.0f} ms", end="")
    print(f", p99 {quantile(delays, 0.99) * 1000:.0f} ms, max {delays[-1] * 1000:.0f} ms")


def ignored(redis: SyncRedis, api: Child, port: int, count: int, base_mib: float) -> None:
    """Those who take nothing of streams with a megabyte to tell."""
    loud = requests(redis, LOUD)
    for attempt in claim(redis, len(loud)):
        for number in range(WORDS):
            run_sync(redis, commands.report(attempt.held, Note(1, STEPS, f"{WORD}{number}")))
    before = connections_of(api)
    connections = deaf(port, loud, count)
    for _ in range(3):
        time.sleep(PATIENCE_S / 3)
        report(f"{count} who never read a megabyte each", api, base_mib)
    print(f"{connections_of(api) - before} of {count} are still connected")
    for connection in connections:
        connection.close()
    report("… after they have gone", api, base_mib)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--streams", type=int, default=10_000)
    options.add_argument("--deaf", type=int, default=1_000)
    asked = options.parse_args()
    many_files()
    with tempfile.TemporaryDirectory() as root:
        measure(asked.streams, asked.deaf, Path(root))


if __name__ == "__main__":
    sys.exit(main())
