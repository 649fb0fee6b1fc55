"""While the model steps for one request, the picture of the next is fetched and that of the last goes out.

Shown by holding a step, not by clocks: what ends meanwhile did not wait for it.
"""

import threading
from collections.abc import Sequence

from shared.queue.records import View
from shared.queue.states import State
from tests.integration.worker.floor import DEADLINE_S, Floor, open_workplace
from worker.engine.fake import FakeRunner, FakeState
from worker.engine.job import Job
from worker.engine.protocol import Decoded


class Held(FakeRunner):
    """Every step of `present` lasts until it is let go; `last` is decoded only when such a step has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.denoised, self.stepping, self.let_go = threading.Event(), threading.Event(), threading.Event()

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        if any(state.job.prompt == "present" for state in states):
            self.stepping.set()
            assert self.let_go.wait(DEADLINE_S)
        return super().predict(states, slots=slots)

    def decode(self, state: FakeState, *, job: Job) -> Decoded:
        if job.prompt == "last":
            self.denoised.set()
            assert self.stepping.wait(DEADLINE_S)
        return super().decode(state, job=job)


def test_pictures_come_and_go_while_the_model_steps(floor: Floor) -> None:
    runner = Held()
    with open_workplace(floor, runner) as place:
        last = floor.submit(prompt="last", num_inference_steps=1)
        answered = [place.answer()]
        assert runner.denoised.wait(DEADLINE_S)
        present = floor.submit(prompt="present")
        answered.append(place.answer())
        assert runner.stepping.wait(DEADLINE_S)

        output = floor.output(last)
        assert floor.file(output["images"][0]["url"]), "decoded, encoded and stored"
        following = floor.submit(prompt="following")
        answered.append(place.answer())

        def loaded(_: View) -> bool:
            return any("picture loaded" in (event.message or "") for event in floor.events(following))

        floor.until(following, loaded)
        assert floor.view(present).state is State.RUNNING
        assert floor.view(present).step == 0, "that step is still under way"
        runner.let_go.set()
        floor.output(present)
        floor.output(following)
    assert sum(future.result(DEADLINE_S) for future in answered) == 3


def test_a_worker_says_how_busy_its_engine_was(floor: Floor) -> None:
    runner = Held()
    with open_workplace(floor, runner) as place:
        idle = place.station.presence()
        assert idle.busy == 0
        id = floor.submit(prompt="present")
        place.answer()
        assert runner.stepping.wait(DEADLINE_S)
        runner.let_go.set()
        floor.output(id)
        assert 0 < place.station.presence().busy <= 1
        assert place.station.presence().busy == 0
