"""Work for the whole life of the process, whatever goes wrong in it. Knows nothing of what it is."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0


async def keep_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Until it is cancelled: work that breaks off is begun anew, after pauses that grow to 5 s.

    The first error is logged, and then none until the work has gone well for as long as the longest pause.
    """
    clock = asyncio.get_running_loop().time
    pause_s = 0.0
    while True:
        began_s = clock()
        try:
            await work()
        except Exception:  # noqa: BLE001 - an edge: what the process needs must outlive whatever went wrong in it
            if clock() - began_s > _LONGEST_PAUSE_S:
                pause_s = 0.0
            if not pause_s:
                _log.exception("%s: broke off; begun anew until it goes on", name)
        pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
