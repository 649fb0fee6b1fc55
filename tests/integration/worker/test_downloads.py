"""Pictures from the world: fetched once, checked, and refused with the reason where they do not come."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shared.queue import commands
from shared.queue.states import State
from tests.integration.egress.web import quiet_server
from tests.integration.worker.floor import DEADLINE_S, Floor, Workplace, open_workplace, png, silent_server
from tests.integration.worker.receiver import Answer, Call, Receiver, receiver


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as it:
        yield it


@pytest.fixture
def workplace(floor: Floor) -> Iterator[Workplace]:
    with open_workplace(floor, egress_allow="127.0.0.1", max_download_bytes=100_000) as workplace:
        yield workplace


def served(floor: Floor, workplace: Workplace, url: str) -> str:
    id = floor.submit(image_url=url)
    assert workplace.station.answer() == 1
    return id


def answers(status: int, content: bytes = b"", **headers: str) -> Any:
    def answer(_: Call) -> Answer:
        return status, headers, content

    return answer


def test_a_picture_by_its_address(floor: Floor, workplace: Workplace, there: Receiver) -> None:
    there.answer = answers(200, png((80, 48)))
    [image] = floor.output(served(floor, workplace, there.url + "/a.png"))["images"]
    assert (image["width"], image["height"]) == (80, 48)
    assert there.next().path == "/a.png"
    assert there.calls.empty()


def test_behind_a_redirect(floor: Floor, workplace: Workplace, there: Receiver) -> None:
    there.answer = lambda call: (
        (200, {}, png()) if call.path == "/there" else (302, {"Location": there.url + "/there"}, b"")
    )
    assert floor.output(served(floor, workplace, there.url))["images"]


@pytest.mark.parametrize("status", [204, 403, 404, 500])
def test_one_that_does_not_come_is_not_tried_again(
    floor: Floor, workplace: Workplace, there: Receiver, status: int
) -> None:
    there.answer = answers(status)
    id = served(floor, workplace, there.url)
    assert floor.problem(id)["type"] == "file_download_error"
    assert floor.view(id).attempts == 1


def test_no_picture_at_all(floor: Floor, workplace: Workplace, there: Receiver) -> None:
    there.answer = answers(200, b"<html>sign in first</html>")
    assert floor.problem(served(floor, workplace, there.url))["type"] == "image_load_error"


def test_one_that_is_too_large(floor: Floor, workplace: Workplace, there: Receiver) -> None:
    there.answer = answers(200, bytes(100_001))
    item = floor.problem(served(floor, workplace, there.url))
    assert (item["type"], item["ctx"]) == ("file_too_large", {"max_size": 100_000})


def test_a_private_address_is_refused_without_a_call(floor: Floor, there: Receiver) -> None:
    with open_workplace(floor) as workplace:
        item = floor.problem(served(floor, workplace, there.url))
    assert item["type"] == "file_download_error"
    assert there.calls.empty()


def test_a_name_inside_sounds_like_one_that_there_is_not(floor: Floor) -> None:
    with open_workplace(floor) as workplace:
        said = {
            json.dumps(floor.problem(served(floor, workplace, f"http://{host}/"))).replace(host, "HOST")
            for host in ("localhost", "nobody.invalid")
        }
    assert len(said) == 1, said


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:image/png;base64,AAAA", "http://", "?"])
def test_what_is_no_web_address(floor: Floor, workplace: Workplace, url: str) -> None:
    id = served(floor, workplace, url)
    assert floor.problem(id)["type"] == "file_download_error"
    assert floor.view(id).state is State.FAILED


def test_pictures_of_one_tenant_that_do_not_come_keep_nobody_elses_waiting(floor: Floor) -> None:
    with silent_server() as url, open_workplace(floor, egress_allow="127.0.0.1", concurrency=4) as workplace:
        stuck = [floor.submit(image_url=url, tenant="mallory") for _ in range(20)]
        for _ in range(4):
            workplace.answer()
        for id in stuck[:3]:
            floor.running(id)
        good = [floor.submit(tenant="ann") for _ in range(3)]
        workplace.answer()
        assert [floor.output(id)["seed"] for id in good] == [7] * 3
        assert sum(floor.view(id).state is State.RUNNING for id in stuck) == 3
        for id in stuck:
            floor.do(commands.cancel(id, "mallory", retention_s=60))


def test_a_download_that_nobody_waits_for_any_more_ends(floor: Floor, workplace: Workplace) -> None:
    with quiet_server() as (address, called, gone):
        id = floor.submit(image_url=f"http://{address}/picture.png")
        workplace.answer()
        assert called.wait(DEADLINE_S)
        floor.cancel(id)
        assert floor.finished(id).status == 499
        assert gone.wait(DEADLINE_S), "its thread is needed for others"


def test_want_of_a_thread_is_no_fault_of_the_picture(floor: Floor, there: Receiver) -> None:
    there.answer = answers(200, png())
    hung = threading.Event()
    with open_workplace(floor, egress_allow="127.0.0.1", concurrency=2, longest_s=0.5) as workplace:
        for _ in range(4):
            workplace.context.aside.submit(hung.wait, DEADLINE_S)
        id = floor.submit(image_url=there.url)
        workplace.answer()
        floor.until(id, lambda view: view.state is State.QUEUED and view.attempts == 1)
        hung.set()
    assert there.calls.empty()
