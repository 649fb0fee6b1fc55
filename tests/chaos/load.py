"""Clients that want pictures and write down everything they see, whatever becomes of the system meanwhile.

Owns what a client does: brings its picture, submits again until it is acknowledged, watches by polls or by a stream
that breaks off, takes back, reads the result. Draws no conclusions and knows no fault but its name.
"""

import asyncio
import base64
import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.chaos.history import Ack, Answer, Cancel, Frame, Picture, Poll, Refusal, Try, Watched, now_ms
from tests.chaos.stage import Stage

APP: Final = "fal-ai/kolors"
ENDPOINT: Final = f"/{APP}/image-to-image"
_AGAIN_S: Final = 0.2
_POLL_S: Final = 0.15
_TOO_MANY_STEPS: Final = 9_999


@dataclass(frozen=True, slots=True)
class Mix:
    """What share of the wishes is what. Sources of pictures are weights; `upload` and `large` have `Load.large`."""

    pictures: dict[str, float] = field(default_factory=lambda: {"url": 0.6, "data": 0.4})
    runs: float = 0.0
    """Synchronous ones."""
    wrong: float = 0.0
    low: float = 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What one client wants. `cancel` is "", "at once" or "running"; `hook` the manner of its webhook's receiver;
    `picture` one of "url", "data", "large" (a data: URI, too) and "upload"; `wrong` what breaks the schema."""

    token: str
    fault: str
    steps: int
    keyed: bool
    picture: str
    streams: bool
    cancel: str
    hook: str
    runs: bool = False
    wrong: bool = False
    low: bool = False


class Load:
    """Keeps `at_once` wishes of one fault under way, until `enough` were made and `stop` was called."""

    def __init__(
        self,
        stage: Stage,
        fault: str,
        *,
        at_once: int = 1,
        enough: int = 1,
        hook: str = "good",
        seed: int = 1,
        key: str = "chaos:secret",
        mix: Mix | None = None,
        large: bytes = b"",
    ) -> None:
        self.stage = stage
        self.large = large or stage.world.picture
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
        self._mix = mix or Mix()
        self._stopping = False
        self._taken_back: set[str] = set()
        self._random = random.Random(f"{fault} {seed}")
        self._numbers = itertools.count(1)
        self._prefix = f"{fault}-{seed}"
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Key {key}"},
            timeout=12,
            trust_env=False,
            limits=httpx.Limits(max_connections=200),
        )
        self._data_uris = {"data": _data_uri(stage.world.picture), "large": _data_uri(self.large)}

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
        return await self._submitted(self.invent(**more))

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

    def invent(self, **more: object) -> Wish:
        """By chance, but for what is said."""
        pick, mix = self._random.random, self._mix
        fields: dict[str, object] = {
            "token": f"{self._prefix}-{next(self._numbers)}",
            "fault": self.fault,
            "steps": self._random.choice((4, 8, 16, 24)),
            "keyed": pick() < 0.7,
            "picture": self._random.choices(list(mix.pictures), list(mix.pictures.values()))[0],
            "streams": pick() < 0.6,
            "cancel": "at once" if (chance := pick()) < 0.06 else "running" if chance < 0.12 else "",
            "hook": self._hook if pick() < 0.7 else "",
            "runs": pick() < mix.runs,
            "wrong": pick() < mix.wrong,
            "low": pick() < mix.low,
        }
        return Wish(**{**fields, **more})  # pyright: ignore[reportArgumentType]

    async def _client(self) -> None:
        while self.made < self._enough or not self._stopping:
            await self.paused.wait()
            self.made += 1
            if self.made >= self._enough:
                self.enough.set()
            await self.carry(self.invent())

    async def carry(self, wish: Wish) -> str:
        """To its end; returns its request's id, or nothing where it was refused for what is wrong with it."""
        if wish.runs:
            return await self._ran(wish)
        id = await self._submitted(wish)
        if wish.cancel == "at once":
            await self.take_back(id)
        await (self._stream(wish, id) if wish.streams else self._poll(wish.cancel, id))
        await self._result(id)
        self.completed.append(id)
        return id

    async def _submitted(self, wish: Wish) -> str:
        query = {"fal_webhook": self.stage.world.hook_url(wish.hook, wish.token)} if wish.hook else {}
        answer = await self._sent(wish, ENDPOINT, query)
        id = str(answer.json()["request_id"])
        self._acknowledged(wish, id)
        return id

    async def _ran(self, wish: Wish) -> str:
        """A synchronous run; one that breaks the schema is refused, and no request comes of it."""
        answer = await self._sent(wish, f"/run{ENDPOINT}", {})
        if answer.status_code != 200:
            return ""
        id = answer.headers["x-fal-request-id"]
        self._acknowledged(wish, id)
        self.stage.record.add(Answer(request=id, status=answer.status_code, body=answer.text))
        self.completed.append(id)
        return id

    def _acknowledged(self, wish: Wish, id: str) -> None:
        self.stage.record.add(Ack(token=wish.token, request=id))
        self.requests[wish.token] = id

    async def _sent(self, wish: Wish, path: str, query: dict[str, str]) -> httpx.Response:
        """Until it is taken, or refused (422) as what is wrong must be."""
        steps = _TOO_MANY_STEPS if wish.wrong else wish.steps
        url = await self._picture(wish)
        body = {"prompt": wish.token, "image_url": url, "num_inference_steps": steps, "strength": 1.0, "seed": 7}
        headers = {"Idempotency-Key": wish.token} if wish.keyed else {}
        headers |= {"X-Fal-Queue-Priority": "low"} if wish.low else {}
        attempt = {"token": wish.token, "keyed": wish.keyed, "fault": wish.fault, "wrong": wish.wrong}
        while True:
            self.stage.record.add(Try(**attempt, hook="" if wish.runs else wish.hook))  # pyright: ignore[reportArgumentType]
            try:
                answer = await self._http.post(self._at(path), json=body, headers=headers, params=query)
            except httpx.HTTPError:
                self.stage.record.add(Refusal(token=wish.token, status=0))
            else:
                if answer.status_code == 200:
                    return answer
                self.stage.record.add(Refusal(token=wish.token, status=answer.status_code))
                if wish.wrong and answer.status_code == 422:
                    return answer
            await asyncio.sleep(_AGAIN_S)

    async def _picture(self, wish: Wish) -> str:
        """Its address: in the world, in itself, or where it has just been uploaded to."""
        if wish.picture == "url":
            return self.stage.world.picture_url(wish.token)
        if wish.picture != "upload":
            return self._data_uris[wish.picture]
        said = {"content_type": "image/png", "file_name": f"{wish.token}.png"}
        place = (await self._insist("POST", "/storage/upload/initiate", json=said)).json()
        to = httpx.URL(place["upload_url"]).raw_path.decode()
        await self._insist("PUT", to, content=self.large, headers={"Content-Type": "image/png"})
        return str(place["file_url"])

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


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
