"""What every route works with, made once by `api.app.create_app` and read-only afterwards.

A route reaches it as `context_of(request)`, which is `request.app.state.context`.
"""

from dataclasses import dataclass
from typing import TypeVar, cast

from starlette.requests import Request

from api.auth import Caller, Keyring
from api.body import Room
from api.hub import Hub
from api.settings import ApiSettings
from api.turns import Turns
from shared.errors import BadCredentials
from shared.files.base import Store
from shared.queue import execute
from shared.queue.commands import Command
from shared.queue.connect import AsyncRedis
from shared.wire.headers import AUTHORIZATION, only
from shared.wire.webhook import SigningKeys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    settings: ApiSettings
    redis: AsyncRedis
    store: Store
    """Blocks: call it in a thread (`starlette.concurrency.run_in_threadpool`)."""
    hub: Hub
    room: Room
    """For JSON bodies, in memory."""
    upload_room: Room
    """For uploads, on the way to the store."""
    upload_turns: Turns
    """For the steps of uploads in parts, which wait for each other in the store."""
    keyring: Keyring
    signing_keys: SigningKeys

    async def run(self, command: Command[T]) -> T:
        """Runs one queue command. Raises what it raises, and `ServiceUnavailable` where Redis cannot answer."""
        return await execute.run(self.redis, command)

    def caller(self, request: Request) -> Caller:
        """Who calls; raises `BadCredentials`, and `ServiceUnavailable` while nobody's key is known."""
        return self.keyring.caller(header(request, AUTHORIZATION))

    def admits(self, request: Request) -> bool:
        """Whether its caller's key is still accepted: answers that take long ask again, for keys are revoked."""
        try:
            self.caller(request)
        except BadCredentials:
            return False
        return True

    def tenant(self, request: Request) -> str:
        return self.caller(request).tenant


def header(request: Request, name: str) -> str | None:
    """A header that decides something. Raises `BadRequest` where two of that name differ."""
    return only(name, request.headers.getlist(name))


def context_of(request: Request) -> Context:
    return cast("Context", request.app.state.context)
