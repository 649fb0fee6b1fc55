"""What is written in one round of the loop leaves as one piece, in order, and nothing is lost at the end."""

import asyncio
from typing import cast

from api.wires import Together


class Recorder:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def _pair() -> tuple[Together, Recorder]:
    recorder = Recorder()
    return Together(cast("asyncio.Transport", recorder)), recorder


async def test_head_and_body_leave_together() -> None:
    together, recorder = _pair()
    together.write(b"head ")
    together.write(b"body")
    assert recorder.written == []
    await asyncio.sleep(0)
    assert recorder.written == [b"head body"]
    together.write(b"next")
    await asyncio.sleep(0)
    assert recorder.written == [b"head body", b"next"]


async def test_closing_leaves_nothing_behind() -> None:
    together, recorder = _pair()
    together.write(b"last words")
    together.close()
    assert recorder.written == [b"last words"]
    await asyncio.sleep(0)
    assert recorder.written == [b"last words"]


async def test_large_pieces_go_on_at_once_to_where_flow_is_controlled() -> None:
    together, recorder = _pair()
    together.write(b"head")
    together.write(b"x" * 100_000)
    assert recorder.written == [b"head" + b"x" * 100_000]
    await asyncio.sleep(0)
    assert len(recorder.written) == 1
