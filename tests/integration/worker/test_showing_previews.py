"""What a worker shows of a running request: small pictures, if it is told to, and none otherwise."""

import base64
import io

import numpy as np
from PIL import Image

from shared.queue import commands
from shared.queue.records import Held, Preview
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import Floor, png
from worker import previews
from worker.reports import Reports

SLOW = {"FAKE_STEP_S": "0.05"}


def decoded(preview: Preview) -> Image.Image:
    head, _, content = preview.url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_running_request_is_shown_and_a_finished_one_is_not(floor: Floor, spawn: Spawn) -> None:
    spawn(PREVIEWS_S="0.5", **SLOW)
    id = floor.submit(png((512, 256), (200, 30, 30)), num_inference_steps=100, strength=1.0)
    seen: dict[int, Preview] = {}

    def look(_: object) -> bool:
        found = floor.do(commands.preview(id))
        if found is not None:
            seen[found.step] = found
        return len(seen) == 2

    view = floor.until(id, look)
    assert view.step >= max(seen) >= 1
    shown = decoded(seen[max(seen)])
    assert shown.size == (64, 32)
    assert np.abs(np.asarray(shown.convert("RGB"), np.int16) - (200, 30, 30)).mean() < 10
    floor.output(id)
    assert floor.do(commands.preview(id)) is None


def test_without_the_setting_nothing_is_made(floor: Floor, spawn: Spawn) -> None:
    spawn(**SLOW)
    id = floor.submit(num_inference_steps=40, strength=1.0)
    floor.until(id, lambda view: view.step > 20)
    assert floor.do(commands.preview(id)) is None
    floor.output(id)


def test_a_preview_is_small_whatever_it_shows() -> None:
    for size in ((256, 256), (256, 128), (8, 8), (128, 16)):
        noise = Image.effect_noise(size, 100).convert("RGB")
        url = previews.url(noise)
        assert len(url) <= 8 * 1024
        width, height = decoded(Preview(1, url)).size
        assert (width, height) == (size if max(size) <= 128 else (128, 128 * size[1] // size[0]))


def test_a_line_is_told_although_its_picture_cannot_be_made(floor: Floor) -> None:
    id = floor.submit()
    attempt = floor.do(commands.claim("worker", "claim", budget_px=2**40, lease_ms=60_000, retention_s=60))
    assert attempt is not None
    heard: list[Held] = []
    reports = Reports(floor.redis, lambda held, _: heard.append(held), every_s=0)
    reports.start()

    def fail() -> Image.Image:
        raise RuntimeError("planted: the device is full")

    reports.begin(attempt.held)
    reports.say(attempt.held, lambda: "half way", step=2, steps=4, preview=fail)
    assert floor.until(id, lambda view: view.step == 2).step == 2
    reports.stop()
    assert heard == [attempt.held]
    assert floor.do(commands.preview(id)) is None
