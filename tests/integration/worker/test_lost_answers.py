"""What a worker does when Redis did what it was asked to, but the answer is lost."""

from typing import Any

from redis.exceptions import TimeoutError as TooSlow

from shared.queue import scripts
from shared.queue.connect import Word, open_sync
from shared.queue.states import State
from tests.integration.worker.floor import DEADLINE_S, Floor, open_workplace


class Hush:
    """A client of the real Redis. The first `times` answers to a verb that say something do not arrive."""

    def __init__(self, url: str, verb: str, times: int) -> None:
        self._redis = open_sync(url)
        self._sha = scripts.load(verb).sha
        self.left = times

    def execute_command(self, *words: Word) -> Any:
        reply = self._redis.execute_command(*words)
        if self.left and reply is not None and self._sha in words:
            self.left -= 1
            raise TooSlow("no answer in time")
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)


def test_a_claim_whose_answers_are_lost_is_run_all_the_same_by_who_asked(floor: Floor) -> None:
    first, second = floor.submit(), floor.submit()
    redis = Hush(floor.redis_url, "claim", 2)
    with open_workplace(floor, redis=redis, concurrency=1) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 2
        assert redis.left == 0
    for id in (first, second):
        view = floor.view(id)
        assert (view.state, view.attempts) == (State.SUCCEEDED, 1)


def test_an_outcome_whose_answer_is_lost_is_offered_again(floor: Floor) -> None:
    id = floor.submit()
    with open_workplace(floor, redis=Hush(floor.redis_url, "finish", 1)) as workplace:
        assert workplace.answer().result(DEADLINE_S) == 1
    assert floor.view(id).state is State.SUCCEEDED
