"""Clients that want pictures and write down everything they see, whatever becomes of the system meanwhile.

Owns what a client does: submits again until it is acknowledged, watches by polls or by a stream that breaks off,
takes back, reads the result. Draws no conclusions and knows no fault but its name.
"""

import asyncio
import base64
import itertools
import json
import random
from dataclasses import dataclass
from typing import Final

import httpx

from tests.chaos.history import Ack, Answer, Cancel, Frame, Picture, Poll, Refusal, Try, Watched, now_ms
from tests.chaos.stage import Stage

APP: Final = "fal-ai/kolors"
ENDPOINT: Final = f"/{APP}/image-to-image"
_KEY: Final = {"Authorization": "Key chaos:secret"}
_AGAIN_S: Final = 0.2
_POLL_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class Wish:
    """What one client wants. `cancel` is "", "at once" or "running"; `hook` the manner of its webhook's receiver."""

    token: str
    fault: str
    steps: int
    keyed: bool
    by_url: bool
    streams: bool
    cancel: str
    hook: str


class Load:
    """Keeps `at_once` wishes of one fault under way, until `enough` were made and `stop` was called."""

    def __init__(
        self, stage: Stage, fault: str, *, at_once: int, enough: int, hook: str = "good", seed: int = 1
    ) -> None:
        self.stage = stage
        self.fault = fault
        self.made = 0
        self.completed: list[str] = []
        self.requests: dict[str, str] = {}
        """Acknowledged: token → id."""
        self.paused = asyncio.Event()
        self.paused.set()
        self.enough = asyncio.Event()
        """Set when as many wishes as asked for have been made."""
        self._at_once = at_once
        self._enough = enough
        self._hook = hook
        self._stopping = False
        self._taken_back: set[str] = set()
        self._random = random.Random(f"{fault} {seed}")
        self._numbers = itertools.count(1)
        self._prefix = f"{fault}-{seed}"
        self._http = httpx.AsyncClient(
            headers=_KEY, timeout=12, trust_env=False, limits=httpx.Limits(max_connections=200)
        )
        self._data_uri = "data:image/png;base64," + base64.b64encode(stage.world.picture).decode()

    async def run(self) -> None:
        """Ends when enough wishes came true after `stop`. A wish that never does keeps it for ever: bound it."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(self._at_once):
                clients.create_task(self._client())

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._http.aclose()

    async def wish(self, **more: object) -> str:
        """One more wish, by hand; returns its request's id as soon as it is acknowledged."""
        return await self._submitted(self._invent(**more))

    async def take_back(self, id: str, *, waiting: bool = False) -> None:
        """Cancels a request, until somebody has heard it. `waiting` as in the record."""
        answer = await self._insist("PUT", f"/{APP}/requests/{id}/cancel")
        self.stage.record.add(Cancel(request=id, status=answer.status_code, waiting=waiting))

    async def watch(self, id: str) -> None:
        """To its end, a wish that was made by hand."""
        await self._poll("", id)
        await self._result(id)
        self.completed.append(id)

    async def look_again(self, id: str, *, pictures: bool = False) -> None:
        """At a result that was seen before; with `pictures`, at what it links to, too."""
        answer = await self._result(id)
        if pictures and answer.status_code == 200:
            for image in answer.json()["images"]:
                path = httpx.URL(image["url"]).raw_path.decode()
                got = await self._insist("GET", path, follow_redirects=True)
                self.stage.record.add(Picture(request=id, status=got.status_code, bytes=len(got.content)))

    def _invent(self, **more: object) -> Wish:
        pick = self._random.random
        fields: dict[str, object] = {
            "token": f"{self._prefix}-{next(self._numbers)}",
            "fault": self.fault,
            "steps": self._random.choice((4, 8, 16, 24)),
            "keyed": pick() < 0.7,
            "by_url": pick() < 0.6,
            "streams": pick() < 0.6,
            "cancel": "at once" if (chance := pick()) < 0.06 else "running" if chance < 0.12 else "",
            "hook": self._hook if pick() < 0.7 else "",
        }
        return Wish(**{**fields, **more})  # pyright: ignore[reportArgumentType]

    async def _client(self) -> None:
        while self.made < self._enough or not self._stopping:
            await self.paused.wait()
            self.made += 1
            if self.made >= self._enough:
                self.enough.set()
            await self._carry(self._invent())

    async def _carry(self, wish: Wish) -> None:
        id = await self._submitted(wish)
        if wish.cancel == "at once":
            await self.take_back(id)
        await (self._stream(wish, id) if wish.streams else self._poll(wish.cancel, id))
        await self._result(id)
        self.completed.append(id)

    async def _submitted(self, wish: Wish) -> str:
        url = self.stage.world.picture_url(wish.token) if wish.by_url else self._data_uri
        body = {"prompt": wish.token, "image_url": url, "num_inference_steps": wish.steps, "strength": 1.0, "seed": 7}
        headers = {"Idempotency-Key": wish.token} if wish.keyed else {}
        query = {"fal_webhook": self.stage.world.hook_url(wish.hook, wish.token)} if wish.hook else {}
        while True:
            self.stage.record.add(Try(token=wish.token, keyed=wish.keyed, fault=wish.fault, hook=wish.hook))
            try:
                answer = await self._http.post(self._at(ENDPOINT), json=body, headers=headers, params=query)
            except httpx.HTTPError:
                self.stage.record.add(Refusal(token=wish.token, status=0))
            else:
                if answer.status_code == 200:
                    id = str(answer.json()["request_id"])
                    self.stage.record.add(Ack(token=wish.token, request=id))
                    self.requests[wish.token] = id
                    return id
                self.stage.record.add(Refusal(token=wish.token, status=answer.status_code))
            await asyncio.sleep(_AGAIN_S)

    async def _poll(self, cancel: str, id: str) -> None:
        while True:
            asked_ms = now_ms()
            status = str((await self._insist("GET", f"/{APP}/requests/{id}/status")).json()["status"])
            self.stage.record.add(Poll(request=id, status=status, asked_ms=asked_ms))
            if status == "COMPLETED":
                return
            if status == "IN_PROGRESS" and cancel == "running":
                await self._take_back_once(id)
            await asyncio.sleep(_POLL_S)

    async def _stream(self, wish: Wish, id: str) -> None:
        """To its end, over as many connections as it takes; now and then it hangs up itself."""
        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            patience = self._random.choice((1, 2, 3, 99, 99))
            try:
                url = self._at(f"/{APP}/requests/{id}/status/stream")
                async with self._http.stream("GET", url, headers=headers) as answer:
                    if answer.status_code == 204:
                        self.stage.record.add(Watched(request=id))
                        return
                    if answer.status_code == 200:
                        last, ended = await self._frames(answer, wish, id, last, patience)
                        if ended:
                            self.stage.record.add(Watched(request=id))
                            return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.02)

    async def _frames(self, answer: httpx.Response, wish: Wish, id: str, last: str, patience: int) -> tuple[str, bool]:
        """(the last event's id, whether it was the final one). What breaks off counts up to its last whole event."""
        event, status = None, ""
        try:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    event = line[4:]
                elif line.startswith("data: "):
                    status = str(json.loads(line[6:])["status"])
                elif not line and status:
                    self.stage.record.add(Frame(request=id, id=event, status=status))
                    last = event or last
                    if status == "COMPLETED":
                        return last, True
                    if status == "IN_PROGRESS" and wish.cancel == "running":
                        await self._take_back_once(id)
                    patience -= 1
                    if patience == 0:
                        return last, False
                    event, status = None, ""
        except httpx.HTTPError:
            pass
        return last, False

    async def _take_back_once(self, id: str) -> None:
        if id not in self._taken_back:
            self._taken_back.add(id)
            await self.take_back(id)

    async def _result(self, id: str) -> httpx.Response:
        answer = await self._insist("GET", f"/{APP}/requests/{id}")
        if answer.status_code != 400:
            self.stage.record.add(Answer(request=id, status=answer.status_code, body=answer.text))
        return answer

    async def _insist(self, method: str, path: str, **options: object) -> httpx.Response:
        """Until somebody answers. A 503 of the API's own says try again; one that is a result has no Retry-After."""
        while True:
            try:
                answer = await self._http.request(method, self._at(path), **options)  # pyright: ignore[reportArgumentType]
                if answer.status_code != 503 or "retry-after" not in answer.headers:
                    return answer
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_AGAIN_S)

    def _at(self, path: str) -> str:
        port = self._random.choice(list(self.stage.ports.values()))
        return f"http://127.0.0.1:{port}{path}"
