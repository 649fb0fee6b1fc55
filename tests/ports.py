"""Ports for servers that are told theirs before they start."""

import random
import socket
from contextlib import suppress
from typing import Final

_BELOW_WHAT_SYSTEMS_HAND_OUT: Final = range(12_000, 30_000)
_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody listens on, never the same twice in this process.

    Between this and the server's start nobody who takes what the system gives, for a connection or to listen, can get
    it: tests run side by side, and a stranger on that port would be spoken to in the wrong language.
    """
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_BELOW_WHAT_SYSTEMS_HAND_OUT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
