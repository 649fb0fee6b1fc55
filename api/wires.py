"""One write per answer. uvicorn hands the head and the body of an answer to the transport one after the other, and each
becomes a system call and a packet of its own; here they leave together, at the end of the loop's current round.

What is no HTTP never gets as far as the application, so it is refused here, in the shape of every other refusal. And
whoever offers to go on in another protocol (Java's own client and `curl --http2` do so with every first call) is served
in this one: uvicorn would lose the body of such a call, and whatever comes after it.

An address that is written out in full, as proxies do it, counts as RFC 9112 says: its host, and not the Host header's.

No connection is kept for one who does nothing with it: a head has to come to its end in a minute, and something of what
is written has to be taken in each. `api.body` sees to bodies, uvicorn to what is idle between two calls.

What may follow a body in chunks, its trailer, is read to its end and dropped: uvicorn would add its fields to those of
the head, behind the back of whoever has read them. It may be as long as a head, and take as long.
"""

import asyncio
import re
from enum import StrEnum
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.edge import complete
from api.errors import answer
from shared.errors import BadRequest, Refused, TooSlow

_ADDRESS = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)
_MOST_BYTES = 16 * 1024
_LONGEST_FIELDS_BYTES = 64 * 1024
_HEAD_S = 60.0
_TAKING_S = 60.0
"""In which a caller takes what is buffered for him, some 48 KB: then come the next."""


class Fields(StrEnum):
    """Lines that the parser would keep, however many come."""

    HEAD = "head"
    TRAILER = "trailer"
    """Or the content of a chunk: which of the two comes after the line that says its size, the next byte tells."""


class Together:
    """An asyncio transport, as far as uvicorn uses one, that gathers what is written in one round of the loop.

    No more than `_MOST_BYTES` are gathered: the rest is for the transport below, whose flow control stays in force.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size_bytes += len(data)
        if self._size_bytes > _MOST_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._size_bytes = 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    _fields: Fields | None = None
    """What is being read."""

    _began_now = False
    _fields_bytes = 0
    """Of it, without the piece in which it began: other calls may have ended in that."""

    _head_timer: asyncio.TimerHandle | None = None
    _taking_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(cast("asyncio.Transport", Together(transport)))
        self._head_timer = self.loop.call_later(_HEAD_S, self._end_waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taking_timer is None:
            self._taking_timer = self.loop.call_later(_TAKING_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._taking_timer is not None:
            self._taking_timer.cancel()
            self._taking_timer = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._began_now = False
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                data = self._without_offer() + data[cast("int", offer.args[0]) :]
                self.parser = HttpRequestParser(self)
            except HttpParserError:
                self.send_400_response("Invalid HTTP request")
                return
            else:
                break
        if (
            self._head_timer is None
            and not self.flow.read_paused
            and (self._fields is Fields.TRAILER or self._is_idle())
        ):
            self._head_timer = self.loop.call_later(_HEAD_S, self._end_waiting)
        if self._fields and not self._began_now:
            self._fields_bytes += len(data)
            if self._fields_bytes > _LONGEST_FIELDS_BYTES:
                self.send_400_response(f"The {self._fields} may have at most {_LONGEST_FIELDS_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin(Fields.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._fields is Fields.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._cancel_head_timer()
        if not self.parser.should_upgrade():
            if not self.url.startswith((b"/", b"*")):
                self._go_by_address()
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no tunnel")  # the parser makes an `HttpParserError` of it
        self._fields = None

    def on_chunk_header(self) -> None:
        self._begin(Fields.TRAILER)

    def on_body(self, body: bytes) -> None:
        self._end_fields()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._end_fields()
            super().on_message_complete()

    def _go_by_address(self) -> None:
        """RFC 9112, 3.2.2: what the Host header says is replaced. Two of them are still two."""
        address = _ADDRESS.fullmatch(self.url)
        if address is None:
            raise ValueError("this is no address of ours")  # the parser makes an `HttpParserError` of it
        host, path = address.groups()
        self.url = path if path.startswith(b"/") else b"/" + path
        others = [header for header in self.headers if header[0] != b"host"]
        hosts = max(1, len(self.headers) - len(others))
        self.headers[:] = [(b"host", host)] * hosts + others

    def _begin(self, fields: Fields) -> None:
        self._fields, self._began_now, self._fields_bytes = fields, True, 0

    def _end_fields(self) -> None:
        """Of a call; once that was answered, the time runs on until the next one's head."""
        self._fields = None
        if not self._is_idle():
            self._cancel_head_timer()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _without_offer(self) -> bytes:
        """The head that was just read, to be read once more. The body, which was not, comes after it."""
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = (b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return line + b"".join(headers) + b"\r\n"

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_waiting(self) -> None:
        if self._fields:
            self._refuse(TooSlow(f"The {self._fields} did not come on"))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest(msg))

    def _refuse(self, error: Refused) -> None:
        """And closes: without a word where an answer has begun to leave, or this call has its own already."""
        next_call = self._fields is Fields.HEAD and self._is_idle()
        if next_call or not (self.pipeline or self.cycle.response_started):
            self._say(error)
        self.transport.close()

    def _say(self, error: Refused) -> None:
        refusal = answer(error)
        given = (header for header in refusal.raw_headers if header[0] != b"connection")
        headers = [*self.server_state.default_headers, *given, (b"connection", b"close")]
        complete(headers)
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[refusal.status_code] + head + b"\r\n" + bytes(refusal.body))
