"""`make soak`: an hour of mixed load at a fixed rate, and whether anything grows, is lost, or happens twice.

    make soak                   60 minutes; MINUTES=3 for a look
    make soak RATE=6            requests a second

The system is the chaos suite's, without faults: its clients, its record, its checker. Requests and files are kept for
two minutes, what was uploaded to an address for a quarter of an hour more, so that as much expires as comes. At the end
everything has to have expired.

Exit status 1 where a promise was broken, something clearly grows or something stays. Samples and sums are in
`out/soak/…/soak.json`, the history beside it.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Final, cast

from PIL import Image

from shared.queue import keys
from shared.queue.scripts import HELD_TTL_S
from tests.bench import gauges
from tests.bench.trends import CRITERION, Sample, Trend, table, trend
from tests.chaos import leftovers
from tests.chaos.checker import Violation, check
from tests.chaos.history import Ack, Call, Cancel, Claim, History, Record, Refusal, Stored, Unmade, of_kind
from tests.chaos.load import Load, Mix, Wish
from tests.chaos.stage import Pace, Stage, raised
from tests.chaos.stores import opened

EVERY_S: Final = 15.0
LATELY: Final = 4
"""Samples over which latencies are taken."""
WARM_S: Final = 1140.0
"""Left out of the sums, or a third of the whole: it takes so long until as much expires as comes."""
PATIENCE_S: Final = 120.0
AT_MOST: Final = 48
CROWDED_S: Final = 10.0
"""For so long, in the beginning, that many are under way: the pools of threads fill then, and a slow minute later, in
which more is under way than before, adds none."""
RETENTION_S: Final = 120
UPLOAD_S: Final = RETENTION_S + 900
"""Until then a file that was uploaded to an address keeps others out of it."""

SETTINGS: Final = {
    "RETENTION_S": str(RETENTION_S),
    "SWEEP_S": "5",
    "FAKE_STEP_S": "0.01",
    "CONCURRENCY": "16",
    "GRACE_S": "5",
}
EXPIRED_S: Final = UPLOAD_S + 2 * 5 + 90.0
MIX: Final = Mix({"url": 0.4, "data": 0.25, "large": 0.1, "upload": 0.25}, runs=0.15, wrong=0.05, low=0.2)
TENANTS: Final = {"a": "good", "b": "good", "c": "failing", "d": "good", "e": "hanging"}
"""Keys, and the manners of their webhooks' receivers."""


def main() -> int:
    minutes, rate = float(os.environ.get("MINUTES") or 60), float(os.environ.get("RATE") or 6)
    folder = Path("out/soak").resolve() / time.strftime("%Y%m%d-%H%M%S")
    history, samples = asyncio.run(soak(folder, minutes * 60, rate))
    violations = check(history)
    warm_s = min(WARM_S, minutes * 60 / 3)
    trends = _trends([sample for sample in samples if sample[0] >= warm_s])
    summary = _counts(history)
    told = {"minutes": minutes, "rate": rate, "warm_s": warm_s, "counts": summary, "settings": SETTINGS}
    told |= {"trends": [asdict(each) for each in trends], "violations": [asdict(each) for each in violations]}
    (folder / "soak.json").write_text(json.dumps(told | {"samples": samples}, indent=1))
    print(f"\n{table(trends)}\n\nAfter the first {warm_s:.0f} s. {CRITERION}.\n")
    print(", ".join(f"{count} {what}" for what, count in summary.items()))
    return _verdict(violations, trends, folder)


async def soak(folder: Path, length_s: float, rate: float) -> tuple[History, list[Sample]]:
    """What happened, and what was measured. Raises TimeoutError where the system does not come up."""
    record = Record(folder)
    async with (
        opened("folder", folder / "system") as store,
        raised(folder / "system", record, Pace(), store=store, workers=2, more=SETTINGS) as stage,
    ):
        large = _large_picture()
        loads = [
            Load(stage, "soak", hook=hook, seed=number, key=f"{name}:secret", mix=MIX, large=large)
            for number, (name, hook) in enumerate(TENANTS.items())
        ]
        ended: dict[str, Stored] = {}
        samples: list[Sample] = []
        sampling = asyncio.create_task(_sampled(stage, samples))
        await _driven(stage, loads, ended, length_s, rate)
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        await _expired(stage)
        print(f"{len(await _held(stage))} pictures of submissions that never came about; they go in two hours at most")
        left = await leftovers.read(stage)
        for load in loads:
            await load.close()
        if deaths := {name: part.deaths for name, part in stage.parts.items() if part.deaths}:
            record.add(Unmade(fault="soak", why=f"processes ended by themselves: {deaths}"))
    return record.close(replace(left, requests=ended | left.requests)), samples


async def _driven(stage: Stage, loads: list[Load], ended: dict[str, Stored], length_s: float, rate: float) -> None:
    """First in a crowd, then at a fixed rate, as long as there are fewer than `AT_MOST` under way: clients that call
    again and again would bring down a machine that others have taken for a while. Then until all are served, or that
    takes too long."""
    chance, began_s = random.Random(1), time.monotonic()
    due_s = began_s
    clients: set[asyncio.Task[None]] = set()
    while due_s < began_s + length_s:
        await asyncio.sleep(due_s - time.monotonic())
        while len(clients) >= AT_MOST:
            await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
        load = chance.choice(loads)
        client = asyncio.create_task(_one(stage, load, load.invent(), ended))
        clients.add(client)
        client.add_done_callback(clients.discard)
        crowded = time.monotonic() < began_s + CROWDED_S
        due_s = max(due_s + (0 if crowded else 1 / rate), time.monotonic() - 1)
    try:
        await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)
    except TimeoutError:
        stage.record.add(Unmade(fault="soak", why="some clients wait for ever"))


async def _one(stage: Stage, load: Load, wish: Wish, ended: dict[str, Stored]) -> None:
    """One request from its picture to its result, looked at twice; then, before it expires, what Redis has of it."""
    try:
        id = await load.carry(wish)
        if id:
            await load.look_again(id, pictures=True)
            ended[id] = replace(await leftovers.stored(stage, id), token=wish.token)
    except Exception as error:  # noqa: BLE001 - the others go on; the check tells of this one
        stage.record.add(Unmade(fault="soak", why=f"{wish.token}: {error!r}"))


async def _sampled(stage: Stage, samples: list[Sample]) -> None:
    """Every 15 seconds, for ever. What was measured is in a file at once: an hour is not to be lost at its end."""
    began_s, marks = time.monotonic(), [0]
    while True:
        await asyncio.sleep(began_s + (len(samples) + 1) * EVERY_S - time.monotonic())
        lately = stage.record.entries[marks[-LATELY:][0] :]
        marks.append(len(stage.record.entries))
        samples.append((round(time.monotonic() - began_s, 1), await gauges.read(stage, lately)))
        with (stage.record.folder / "samples.jsonl").open("a") as file:
            file.write(json.dumps(samples[-1]) + "\n")


async def _expired(stage: Stage) -> None:
    """Waits until no request and no file is there; what does not go within its time is an entry of the record."""

    deadline_s = time.monotonic() + EXPIRED_S
    while stays := await _stays(stage):
        if time.monotonic() > deadline_s:
            stage.record.add(Unmade(fault="soak", why=f"it stays: {stays}"))
            return
        await asyncio.sleep(1)


async def _stays(stage: Stage) -> dict[str, float]:
    """What is there although it should have gone, by its name."""
    kinds = Counter([gauges.kind(name) async for name in leftovers.names(stage)])
    del kinds["other"]
    held = await _held(stage)
    known = int(str(await stage.ask("ZCARD", keys.FILES))) - len(held)
    files = len(set(await asyncio.to_thread(stage.store.files)) - held)
    return {name: count for name, count in ({**kinds, "files": files, "known files": known}).items() if count}


async def _held(stage: Stage) -> set[str]:
    """Pictures of submissions that never came about, which are given longer than all of this: their client, or the
    answer of Redis, was too slow. Nothing else has a date after what is kept and before theirs."""
    now_ms = round(time.time() * 1000)
    most_ms = now_ms + HELD_TTL_S * 1000
    found = await stage.ask("ZRANGEBYSCORE", keys.FILES, now_ms + (UPLOAD_S + RETENTION_S) * 1000, most_ms)
    return set(cast("list[str]", found))


def _trends(samples: Sequence[Sample]) -> list[Trend]:
    names = dict.fromkeys(name for _, values in samples for name in values)
    enough = [name for name in names if sum(name in values for _, values in samples) >= 6]
    return [trend(name, samples) for name in enough]


def _counts(history: History) -> dict[str, int]:
    entries, requests = history.entries, history.left.requests.values()
    hooks = of_kind(entries, Call)
    return {
        "requests": len(requests),
        **Counter(stored.state for stored in requests),
        "acknowledged": len({ack.request for ack in of_kind(entries, Ack)}),
        "refused": len({refusal.token for refusal in of_kind(entries, Refusal)}),
        "attempts": len({(claim.request, claim.number) for claim in of_kind(entries, Claim)}),
        "cancellations": len(of_kind(entries, Cancel)),
        "webhook calls": len(hooks),
        "of them taken": sum(200 <= hook.status < 300 for hook in hooks),
    }


def _verdict(violations: list[Violation], trends: list[Trend], folder: Path) -> int:
    for violation in violations[:20]:
        print(f"BROKEN {violation.promise}: {violation.about} {violation.what}")
    growing = [each.name for each in trends if each.verdict == "grows"]
    print(f"{len(violations)} VIOLATIONS" if violations else "nothing was lost, nothing happened twice, nothing stays")
    print(f"GROWS: {', '.join(growing)}" if growing else "nothing grows")
    print(f"all of it in {folder}")
    return 1 if violations or growing else 0


def _large_picture() -> bytes:
    """Some hundred kilobytes that do not shrink."""
    file = BytesIO()
    Image.effect_noise((640, 480), 60).convert("RGB").save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
