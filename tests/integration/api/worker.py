"""What a worker does to the queue, step by step, without one."""

import secrets

from shared.queue import commands, keys
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from shared.queue.records import Attempt, Finish, Lease, Note, Outcome, Presence, Preview
from shared.queue.states import State

RETENTION_S = 600


class Hand:
    def __init__(self, redis_url: str) -> None:
        self._redis = open_sync(redis_url)

    def close(self) -> None:
        self._redis.close()

    def claim(self) -> Attempt:
        command = commands.claim("w1", secrets.token_hex(16), budget_px=10**9, lease_ms=60_000, retention_s=RETENTION_S)
        attempt = run_sync(self._redis, command)
        assert attempt is not None, "there is nothing to claim"
        return attempt

    def report(self, attempt: Attempt, step: int, message: str | None = None) -> Lease:
        return run_sync(self._redis, commands.report(attempt.held, Note(step, 10, message)))

    def show(self, attempt: Attempt, preview: Preview) -> bool:
        return run_sync(self._redis, commands.show(attempt.held, preview))

    def finish(self, attempt: Attempt, body: str = '{"seed":1}', **fields: object) -> Finish:
        whole = {"state": State.SUCCEEDED, "status": 200, "inference_s": 1.5, "gpu_s": 0.5} | fields
        outcome = Outcome(body=body, **whole)  # pyright: ignore[reportArgumentType]
        return run_sync(self._redis, commands.finish(attempt.held, outcome, retention_s=RETENTION_S))

    def appear(self, *, ready: bool = True) -> None:
        presence = Presence(
            "w1", "fake", "cpu", ready, draining=False, running=0, free_px=1, px_per_s=1, concurrency=1, busy=0.75
        )
        run_sync(self._redis, commands.renew(presence, [], lease_ms=60_000))

    def forget(self, id: str) -> None:
        """As if it had expired."""
        self._redis.execute_command("DEL", keys.request(id), keys.events(id))

    def state(self, id: str) -> State | None:
        view = run_sync(self._redis, commands.view(id))
        return view.state if view else None
