"""How an attempt ended, whatever happened, as the queue stores it: one of the two places where errors are converted.

Knows every error; what nobody expected is logged with its traceback and told to the caller as an internal error only.
"""

import logging

from shared.errors import Error, Fault, InternalFault, InvalidInput, ServiceUnavailable, Unavailable
from shared.files.base import StoreUnavailable
from shared.queue.faults import outcome_of
from shared.queue.records import Outcome

_log = logging.getLogger(__name__)
_LONGEST_RETRY_MS = 30_000


def of_error(error: Exception, request: str) -> Outcome:
    """The outcome of an attempt that raised `error`; `request` is its id, for the log."""
    match error:
        case InvalidInput() | Fault():
            fault = error
        case StoreUnavailable() | ServiceUnavailable():
            _log.warning("worth another attempt: %s", error, extra={"request": request})
            fault = Unavailable()
        case Error():
            _log.error("attempt failed: %r", error, extra={"request": request})
            fault = InternalFault()
        case _:
            _log.error("attempt failed", exc_info=error, extra={"request": request})
            fault = InternalFault()
    return outcome_of(fault)


def retry_delay_ms(number: int) -> int:
    """Before the attempt after attempt `number` (from 1): half a second, then doubled each time."""
    return min(_LONGEST_RETRY_MS, 500 * 2 ** (number - 1))
