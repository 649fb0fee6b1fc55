"""Threads share heaps, counted by what glibc itself says of them."""

import platform
import re
import subprocess
import sys

import pytest

from shared.heaps import HEAPS

THREADS = 12
MANY_THREADS = f"""
import ctypes, threading
from shared.heaps import share_heaps

SHARE
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc.restype = ctypes.c_void_p
all_here = threading.Barrier({THREADS})

def take():
    all_here.wait()
    libc.malloc(1000)
    all_here.wait()

threads = [threading.Thread(target=take) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def heaps(share: str) -> int:
    code = MANY_THREADS.replace("SHARE", share)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"<heap nr=", said))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_dozens_of_threads_share_two_heaps():
    assert heaps("") > HEAPS
    assert heaps("share_heaps()") == HEAPS
