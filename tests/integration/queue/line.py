"""The queue as the tests of its promises use it: short names for the commands, and a hand on the clock."""

from collections.abc import Collection
from itertools import count
from typing import Any, TypeVar, cast

from shared.queue import commands, keys
from shared.queue.commands import Command
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from shared.queue.records import (
    Attempt,
    Cancellation,
    Event,
    Finish,
    Held,
    Lease,
    Note,
    Outcome,
    Presence,
    Receipt,
    Rescue,
    Result,
    Submission,
    View,
)
from shared.queue.states import State

T = TypeVar("T")

RETENTION_S = 1000
LEASE_MS = 60_000
MEGAPIXEL = 1_000_000
SUCCESS = Outcome(State.SUCCEEDED, 200, '{"images": []}', inference_s=2.5, gpu_s=1.25)
PASSING = Outcome(State.FAILED, 503, "{}", error="Away", error_type="runner_connection_error", retryable=True)


class Line:
    def __init__(self, url: str) -> None:
        self.redis = open_sync(url, timeout_s=10)
        self._claims = count(1)

    def do(self, command: Command[T]) -> T:
        return run_sync(self.redis, command)

    def submit(self, id: str, tenant: str = "ann", *, cost_px: int = MEGAPIXEL, steps: int = 1, **more: Any) -> Receipt:
        submission = Submission(
            id=id, tenant=tenant, input='{"prompt": "狗"}', cost_px=cost_px, steps=steps, base="http://here", **more
        )
        return self.do(commands.submit(submission, retention_s=RETENTION_S))

    def claim(
        self,
        worker: str = "w",
        *,
        claim: str | None = None,
        budget_px: int = 100 * MEGAPIXEL,
        lease_ms: int = LEASE_MS,
        avoided: Collection[str] = (),
    ) -> Attempt | None:
        claim = claim or f"claim-{next(self._claims)}"
        command = commands.claim(
            worker, claim, budget_px=budget_px, lease_ms=lease_ms, retention_s=RETENTION_S, avoided=avoided
        )
        return self.do(command)

    def take(self, worker: str = "w") -> Held:
        """Claims what must be there."""
        attempt = self.claim(worker)
        assert attempt is not None
        return attempt.held

    def finish(
        self,
        held: Held,
        outcome: Outcome = SUCCESS,
        *,
        suspect: bool = False,
        retry_delay_ms: int = 0,
        last: Note | None = None,
    ) -> Finish:
        return self.do(
            commands.finish(
                held,
                outcome,
                suspect=suspect,
                retention_s=RETENTION_S,
                retry_delay_ms=retry_delay_ms,
                last=last,
            )
        )

    def release(self, held: Held) -> Finish:
        return self.do(commands.release(held, retention_s=RETENTION_S))

    def cancel(self, id: str, tenant: str = "ann") -> Cancellation:
        return self.do(commands.cancel(id, tenant, retention_s=RETENTION_S))

    def report(self, held: Held, **what: Any) -> Lease:
        return self.do(commands.report(held, Note(**what)))

    def renew(self, *held: Held, worker: str = "w", draining: bool = False) -> dict[str, Lease]:
        return self.do(commands.renew(presence(worker, draining=draining), held, lease_ms=LEASE_MS))

    def rescue(self) -> Rescue:
        return self.do(commands.rescue(retention_s=RETENTION_S))

    def expire(self) -> int:
        return self.do(commands.expire(retention_s=RETENTION_S))

    def view(self, id: str) -> View:
        view = self.do(commands.view(id))
        assert view is not None
        return view

    def result(self, id: str) -> Result:
        result = self.do(commands.result(id))
        assert result is not None
        return result

    def events(self, id: str, after: str = "0") -> list[Event]:
        return self.do(commands.events(id, after=after))

    def states(self, id: str) -> list[str]:
        return [event.state.value for event in self.events(id) if event.message is None and event.step is None]

    def ttl_s(self, key: str) -> int:
        return cast("int", self.redis.execute_command("TTL", key))

    def due_ms(self, file: str) -> int:
        """When the file is to be deleted."""
        return round(float(str(self.redis.execute_command("ZSCORE", keys.FILES, file))))

    def rings(self) -> int:
        return cast("int", self.redis.execute_command("LLEN", keys.DOORBELL))

    def lose_rings(self) -> None:
        self.redis.execute_command("DEL", keys.DOORBELL)

    def field(self, id: str, name: str) -> str | None:
        return cast("str | None", self.redis.execute_command("HGET", keys.request(id), name))

    def held(self, worker: str) -> list[str]:
        return cast("list[str]", self.redis.execute_command("ZRANGE", keys.HELD + worker, 0, -1))

    def lapse(self, id: str) -> None:
        """The lease of a running request has ended."""
        self.redis.execute_command("ZADD", keys.LEASES, "XX", 1, id)

    def bury(self, worker: str = "w") -> None:
        """The presence of a worker has ended."""
        self.redis.execute_command("ZREM", keys.WORKERS, worker)
        self.redis.execute_command("DEL", keys.WORKER + worker)

    def come_due(self, id: str) -> None:
        """The delay before a retry has passed."""
        self.redis.execute_command("ZADD", keys.DELAYED, "XX", 1, id)

    def run_out(self, id: str, timeout: str) -> None:
        """The `start_by` or `finish_by` of a queued request has passed."""
        self.redis.execute_command("HSET", keys.request(id), timeout, 1)
        self.redis.execute_command("ZADD", keys.DEADLINES, "XX", 1, id)


def presence(worker: str = "w", *, draining: bool = False) -> Presence:
    return Presence(worker, "tiny", "cpu", True, draining, 1, 5 * MEGAPIXEL, 1.5e6, 4)
