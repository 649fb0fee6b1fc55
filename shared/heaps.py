"""How many heaps glibc keeps for the threads of this process.

By default each thread may get a heap of its own, up to eight for each core, and each keeps what it once needed: with
dozens of threads that decode pictures a process grows for hours, although nothing holds anything.
"""

import ctypes
import sys
from typing import Final

HEAPS: Final = 2
_M_ARENA_MAX: Final = -8
"""Of glibc's `malloc.h`."""


def share_heaps() -> None:
    """At most `HEAPS` for all threads from now on; to be called before there are many. Where the C library is not
    glibc it does nothing."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(_M_ARENA_MAX, HEAPS)
