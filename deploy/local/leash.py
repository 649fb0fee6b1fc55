"""Runs a program that ends with its parent: `python -I -S leash.py PROGRAM [ARGUMENT …]`.

On Linux the program gets SIGTERM when its parent dies, however that dies, so that nothing of a system that was
killed stays behind holding its port and its append-only file. Elsewhere the program is just run.
It replaces this process: same pid, same open files. Standard library only, for it runs at every (re)start.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def leash() -> None:
    """Asks the kernel for SIGTERM at the parent's death. The request outlives `exec`."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    leash()
    os.execvp(sys.argv[1], sys.argv[1:])
