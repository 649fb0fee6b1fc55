"""The one tree of errors of this product.

They are converted twice only: `worker.outcomes` turns them into an `Outcome` that the queue stores,
`api.errors` turns them into an HTTP answer. Nobody else knows a status code by heart.

    Error
    ├── InvalidInput              the request's own content is wrong: 422 with one item per problem
    ├── Fault                     an accepted request could not be carried out
    │   ├── Cancelled             its owner took it back
    │   ├── StartTimeout          nobody began it in the time its owner gave
    │   ├── TotalTimeout          it was not finished in the time its owner gave
    │   ├── WorkerLost            every worker that took it died
    │   ├── Unavailable           a part that it needs is away: worth another attempt
    │   ├── OutOfMemory           it does not fit the device: worth another attempt
    │   ├── DeviceLost            the device answers nothing more in this process: the same
    │   └── InternalFault         our bug
    ├── Refused                   the API did not accept the call
    │   ├── BadCredentials  BadRequest  UnknownRequest  UnknownPath  TooLarge  TooSlow
    │   ├── QueueFull  TooManyQueued  IdempotencyConflict
    │   └── ServiceUnavailable    Redis or the store cannot answer now
    └── WrongSetting              the process must not start
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, in the vocabulary of fal's model errors.

    `type` is fal's name of it (`missing`, `greater_than_equal`, `image_load_error`, …); `context` becomes
    `ctx` (`{"ge": 1}`); `input` is the offending value and is left out where it is large.
    """

    location: Location
    message: str
    type: str
    context: Mapping[str, object] | None = None
    input: object | None = None


class Error(Exception):
    """Root of the tree. A subclass's docstring is its default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidInput(Error):
    """The input is not valid."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems) or None)
        self.problems = problems


class Fault(Error):
    """The request could not be carried out."""

    status: ClassVar[int] = 500
    error_type: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    """Whether the queue starts another attempt by itself (fal: 503, 504 and connection faults)."""


class Cancelled(Fault):
    """Request was cancelled"""

    status = 499
    error_type = "client_cancelled"


class StartTimeout(Fault):
    """Request timed out before a worker started it"""

    status = 504
    error_type = "request_timeout"


class TotalTimeout(Fault):
    """Request was not finished within its total timeout"""

    status = 504
    error_type = "request_timeout"


class WorkerLost(Fault):
    """The workers that ran this request stopped without an answer"""

    status = 503
    error_type = "runner_disconnected"


class Unavailable(Fault):
    """A service that this request needs is not available"""

    status = 503
    error_type = "runner_connection_error"
    retryable = True


class OutOfMemory(Fault):
    """CUDA error: out of memory"""

    status = 503
    error_type = "runner_server_error"
    retryable = True


class DeviceLost(Fault):
    """The device failed, and answers nothing more in this process"""

    status = 503
    error_type = "runner_server_error"
    retryable = True


class InternalFault(Fault):
    """Internal Server Error"""

    status = 500
    error_type = "runner_server_error"


class Refused(Error):
    """The call was not accepted."""


class BadCredentials(Refused):
    """invalid key credentials"""


class BadRequest(Refused):
    """The call is not well formed."""


class UnknownRequest(Refused):
    """There is no such request for this caller."""


class UnknownPath(Refused):
    """There is nothing at this path."""


class TooLarge(Refused):
    """The body is larger than this server accepts."""


class TooSlow(Refused):
    """The body did not come on."""


class QueueFull(Refused):
    """The queue is longer than this call allows."""


class TooManyQueued(Refused):
    """This key has as many requests waiting as it may."""


class IdempotencyConflict(Refused):
    """The Idempotency-Key was used before with another body."""


class ServiceUnavailable(Refused):
    """The service cannot answer right now. Try again shortly."""


class WrongSetting(Error):
    """A setting has no usable value."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
