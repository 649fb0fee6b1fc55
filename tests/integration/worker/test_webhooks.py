"""Webhooks on real HTTP: what is sent, that anybody can verify it, and what happens where nobody wants it."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWK

from shared import egress
from shared.files.keys import result_body
from shared.files.local import LocalStore
from shared.queue import commands, keys
from shared.queue.records import Outcome
from shared.queue.states import State
from shared.wire import webhook
from shared.wire.webhook import load_or_create_keys
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import DEADLINE_S, RETENTION_S, Floor, Worker
from tests.integration.worker.receiver import Answer, Call, Receiver, receiver
from tests.integration.worker.telling import BODY, as_fal_documents, courier, over, settled
from worker.webhooks import Terms, Webhooks


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as it:
        yield it


def let_read(monkeypatch: pytest.MonkeyPatch, readings: Iterable[Iterator[bytes]]) -> None:
    """The store gives these, one after the other, whatever is read."""
    left = iter(readings)

    def read(_: LocalStore, key: str) -> Iterator[bytes]:
        return next(left)

    monkeypatch.setattr(LocalStore, "read", read)


def slowly(content: bytes, each_s: float) -> Iterator[bytes]:
    """In five pieces."""
    size = math.ceil(len(content) / 5)
    for start in range(0, len(content), size):
        threading.Event().wait(each_s)
        yield content[start : start + size]


def peak_kib(worker: Worker) -> int:
    """The most memory that it has held so far."""
    lines = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class TestWhatIsSent:
    def test_a_success(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            id = over(floor, there.url + "/hook?x=1")
            call = there.next()
            assert settled(floor, id) == "1"
        assert call.path == "/hook?x=1"
        assert call.headers["content-type"] == "application/json"
        assert json.loads(call.body) == {
            "error": None,
            "gateway_request_id": id,
            "payload": BODY,
            "request_id": id,
            "status": "OK",
        }

    def test_a_failure(self, floor: Floor, there: Receiver) -> None:
        detail = {"detail": [{"loc": ["body", "image_url"], "msg": "no", "type": "image_load_error"}]}
        with courier(floor):
            over(floor, there.url, Outcome(State.FAILED, 422, json.dumps(detail), error="no"))
            told = json.loads(there.next().body)
        assert (told["status"], told["error"], told["payload"]) == ("ERROR", "Invalid status code: 422", detail)

    def test_a_result_that_lies_in_the_store(self, floor: Floor, there: Receiver) -> None:
        key = result_body("some-id", "some-claim")
        floor.store.put(key, json.dumps(BODY).encode(), content_type="application/json", expires_at=None)
        with courier(floor):
            over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=key))
            assert json.loads(there.next().body)["payload"] == BODY

    def test_a_result_that_lies_in_the_store_is_told_the_same_after_its_own_life(
        self, floor: Floor, there: Receiver
    ) -> None:
        key = result_body("some-id", "some-claim")
        floor.store.put(key, json.dumps(BODY).encode(), content_type="application/json", expires_at=None)
        floor.do(commands.expect_files([key], 1))
        id = over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=key), keep_io=False)
        floor.redis.execute_command("HSET", keys.request(id), "expires", 1)
        there.answer = sequence(500)
        with courier(floor, sweep_s=0.05, webhook_retry_s=(1.0,)):
            first, second = there.next().body, there.next().body
            assert first == second
            assert json.loads(second)["payload"] == BODY
            deadline_s = time.monotonic() + DEADLINE_S
            while floor.redis.execute_command("EXISTS", keys.FILES):
                assert time.monotonic() < deadline_s, "nobody needs it any more"
                threading.Event().wait(0.02)
        assert floor.do(commands.result(id)) is None

    def test_a_result_that_is_gone_is_told_as_unreadable(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key="results/gone/gone/result.json"))
            told = json.loads(there.next().body)
        assert told["payload"] is None
        assert told["payload_error"]

    def test_a_store_that_is_slow_takes_nothing_of_the_receivers_time(
        self, floor: Floor, there: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        let_read(monkeypatch, (slowly(json.dumps(BODY).encode(), 0.2) for _ in range(9)))
        with courier(floor, webhook_timeout_s=0.6):
            id = over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=result_body("a", "a")))
            assert settled(floor, id) == "1"
            assert json.loads(there.next().body)["payload"] == BODY
        assert there.calls.empty()

    def test_what_is_being_posted_has_no_name_on_the_disk(self, floor: Floor, there: Receiver) -> None:
        def held() -> list[str]:
            files = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
            return [file for file in files if file.startswith(str(floor.folder.resolve() / "spool"))]

        seen: list[str] = []

        def look(_: Call) -> Answer:
            seen.extend(held())
            return 200, {}, b""

        there.answer = look
        key = result_body("some-id", "some-claim")
        text = json.dumps(BODY | {"prompt": "x" * (1 << 20)}, sort_keys=True)
        floor.store.put(key, text.encode(), content_type="application/json", expires_at=None)
        with courier(floor):
            id = over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=key))
            assert settled(floor, id) == "1"
        [name] = seen
        assert name.endswith(" (deleted)"), "a courier that is killed leaves nothing behind"
        assert held() == []

    def test_a_request_without_one_sends_nothing(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            id = floor.submit()
            floor.cancel(id)
            over(floor, there.url)
            assert json.loads(there.next().body)["request_id"] != id
        assert there.calls.empty()


class TestSignature:
    def test_verifies_as_fal_documents_it(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            over(floor, there.url)
            call = there.next()
        jwks = load_or_create_keys(floor.folder / "keys").jwks()
        as_fal_documents(call, jwks)
        with pytest.raises(InvalidSignature):
            as_fal_documents(Call(call.path, call.headers, call.body + b" "), jwks)

    def test_verifies_with_a_jose_library(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            over(floor, there.url)
            call = there.next()
        [jwk] = load_or_create_keys(floor.folder / "keys").jwks()["keys"]
        public = PyJWK.from_dict(jwk).key
        assert isinstance(public, Ed25519PublicKey)
        head = call.headers
        lines = [head["x-fal-webhook-request-id"], head["x-fal-webhook-user-id"], head["x-fal-webhook-timestamp"]]
        message = "\n".join([*lines, hashlib.sha256(call.body).hexdigest()]).encode()
        public.verify(bytes.fromhex(head["x-fal-webhook-signature"]), message)

    def test_is_one_of_the_bytes_that_are_posted(
        self, floor: Floor, there: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        let_read(monkeypatch, (iter([b'"%d"' % number]) for number in range(9)))
        with courier(floor):
            over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=result_body("a", "a")))
            as_fal_documents(there.next(), load_or_create_keys(floor.folder / "keys").jwks())

    def test_names_the_tenant(self, floor: Floor, there: Receiver) -> None:
        with courier(floor):
            over(floor, there.url, tenant="ann")
            assert there.next().headers["x-fal-webhook-user-id"] == "ann"


def sequence(*statuses: int) -> Callable[[Call], Answer]:
    left = list(statuses)

    def answer(_: Call) -> Answer:
        return left.pop(0) if left else 200, {"Location": "http://127.0.0.1:1/"}, b""

    return answer


class TestFailures:
    @pytest.mark.parametrize("status", [301, 307, 304, 400, 410, 429, 500, 503])
    def test_anything_but_a_2xx_is_tried_again_with_the_same_bytes(
        self, floor: Floor, there: Receiver, status: int
    ) -> None:
        there.answer = sequence(status)
        with courier(floor):
            id = over(floor, there.url)
            first, second = there.next(), there.next()
            assert settled(floor, id) == "1"
        assert first.body == second.body
        assert there.calls.empty()
        as_fal_documents(second, load_or_create_keys(floor.folder / "keys").jwks())

    @pytest.mark.parametrize("status", [201, 202, 204])
    def test_any_2xx_is_a_success(self, floor: Floor, there: Receiver, status: int) -> None:
        there.answer = sequence(status)
        with courier(floor):
            assert settled(floor, over(floor, there.url)) == "1"

    def test_a_result_that_is_not_read_in_time_is_another_attempts(
        self, floor: Floor, there: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.webhooks._READ_S", 0.5)
        let_read(monkeypatch, [slowly(b"{}" + b" " * 98, 0.2), iter([b"{}"])])
        with courier(floor):
            id = over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=result_body("a", "a")))
            assert settled(floor, id) == "1"
        assert json.loads(there.next().body)["payload"] == {}
        assert there.calls.empty()
        assert floor.redis.execute_command("HGET", keys.request(id), "webhook_attempt") == "2"

    def test_a_delivery_is_its_couriers_own_until_reading_and_posting_have_ended(
        self, floor: Floor, there: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.webhooks._SPARE_S", 0.0)
        let_read(monkeypatch, [slowly(json.dumps(BODY).encode(), 0.2)])
        left_s: list[float] = []

        def look(call: Call) -> Answer:
            told = call.headers["x-fal-webhook-request-id"]
            until_ms = float(str(floor.redis.execute_command("ZSCORE", keys.WEBHOOKS, told)))
            left_s.append(until_ms / 1000 - time.time())
            return 200, {}, b""

        there.answer = look
        with courier(floor, webhook_timeout_s=0.9):
            id = over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=result_body("a", "a")))
            assert settled(floor, id) == "1"
        assert left_s[0] > 0.9

    def test_it_is_given_up_in_the_end(self, floor: Floor, there: Receiver) -> None:
        there.answer = sequence(500, 500, 500, 500)
        with courier(floor):
            assert settled(floor, over(floor, there.url)) == "0"
        assert there.calls.qsize() == 3

    def test_a_private_address_is_never_called(self, floor: Floor, there: Receiver) -> None:
        with courier(floor, egress_allow=""):
            assert settled(floor, over(floor, there.url)) == "0"
        assert there.calls.empty()

    def test_a_receiver_that_never_answers_costs_its_timeout_only(self, floor: Floor, there: Receiver) -> None:
        hung, patience = threading.Event(), [1]

        def answer(_: Call) -> Answer:
            if patience:
                patience.pop()
                assert hung.wait(DEADLINE_S)
            return 200, {}, b""

        there.answer = answer
        with courier(floor, webhook_timeout_s=0.3):
            assert settled(floor, over(floor, there.url)) == "1"
            hung.set()
        assert there.calls.qsize() == 2

    def test_a_slow_receiver_does_not_hold_up_the_others(self, floor: Floor, there: Receiver) -> None:
        hung = threading.Event()
        with receiver() as stuck, courier(floor, courier_concurrency=4, webhook_retry_s=(60.0,), webhook_timeout_s=20):
            stuck.answer = sequence(500)
            over(floor, stuck.url)
            stuck.next()

            def hang(_: Call) -> Answer:
                assert hung.wait(DEADLINE_S)
                return 200, {}, b""

            stuck.answer = hang
            many = [over(floor, stuck.url) for _ in range(8)]
            stuck.next()
            assert settled(floor, over(floor, there.url)) == "1"
            assert stuck.calls.empty(), "a receiver known to fail gets a quarter of the threads"
            hung.set()
            assert [settled(floor, id) for id in many] == ["1"] * 8
        numbers = [floor.redis.execute_command("HGET", keys.request(id), "webhook_attempt") for id in many]
        assert numbers == ["1"] * 8, "those put off were not counted as tried"

    def test_no_tenant_holds_up_the_others_however_many_names_its_receiver_has(
        self, floor: Floor, there: Receiver
    ) -> None:
        hung, patience_s = threading.Event(), 3 * DEADLINE_S

        def hang(_: Call) -> Answer:
            assert hung.wait(patience_s)
            return 200, {}, b""

        with receiver() as stuck, courier(floor, courier_concurrency=4, webhook_timeout_s=patience_s):
            stuck.answer = hang
            names = ("127.0.0.1", "127.1", "0x7f.1", "0X7F.1", "2130706433", "0177.0.0.1")
            urls = [stuck.url.replace("127.0.0.1", name) for name in names]
            many = [over(floor, url, tenant=tenant) for tenant in ("bob", "eve") for url in urls]
            for _ in range(3):
                stuck.next()
            assert settled(floor, over(floor, there.url, tenant="ann")) == "1"
            assert stuck.calls.empty(), "half of the threads, then half of what is left"
            hung.set()
            assert [settled(floor, id) for id in many] == ["1"] * 12
        told = [floor.redis.execute_command("HGET", keys.request(id), "webhook_attempt") for id in many]
        assert told == ["1"] * 12, "those put off were not counted as tried"

    def test_a_receiver_that_was_never_met_gets_a_quarter_until_it_has_answered(
        self, floor: Floor, there: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.webhooks._SLOW_S", DEADLINE_S)
        at_once, hung = threading.Barrier(3), threading.Event()

        def hang(_: Call) -> Answer:
            assert hung.wait(DEADLINE_S)
            return 200, {}, b""

        there.answer = hang
        with receiver() as other, courier(floor, courier_concurrency=6):
            many = [over(floor, there.url) for _ in range(6)]
            there.next()
            assert settled(floor, over(floor, other.url)) == "1"
            assert there.calls.empty()
            hung.set()
            assert [settled(floor, id) for id in many] == ["1"] * 6

            def together(_: Call) -> Answer:
                at_once.wait(DEADLINE_S)
                return 200, {}, b""

            there.answer = together
            assert [settled(floor, id) for id in [over(floor, there.url) for _ in range(3)]] == ["1"] * 3

    def test_a_crowd_of_one_tenant_does_not_hide_what_is_due_behind_it(self, floor: Floor, there: Receiver) -> None:
        hung = threading.Event()

        def hang(_: Call) -> Answer:
            assert hung.wait(DEADLINE_S)
            return 200, {}, b""

        with receiver() as stuck:
            stuck.answer = hang
            for _ in range(200):
                over(floor, stuck.url, tenant="bob")
            behind = over(floor, there.url, tenant="ann")
            webhooks = Webhooks(
                floor.redis,
                floor.store,
                floor.folder,
                load_or_create_keys(floor.folder / "keys"),
                Terms(timeout_s=DEADLINE_S, retry_s=(), threads=4, allow=egress.Allow.parse("127.0.0.1")),
            )
            webhooks.round()
            assert settled(floor, behind) == "1"
            hung.set()
            webhooks.close()


class TestProcess:
    def test_results_of_any_size_are_delivered_with_little_memory(
        self, floor: Floor, spawn: Spawn, there: Receiver
    ) -> None:
        """Three at once, of 32 MiB each, whose receiver answers when all have arrived."""
        together = threading.Barrier(3)

        def answer(_: Call) -> Answer:
            together.wait(DEADLINE_S)
            return 200, {}, b""

        text = json.dumps(BODY | {"prompt": "x" * (32 << 20)}, sort_keys=True)
        first = spawn("worker.courier", EGRESS_ALLOW="127.0.0.1", WEBHOOK_TIMEOUT_S=str(DEADLINE_S))
        assert settled(floor, over(floor, there.url)) == "1"
        there.next()
        before_kib = peak_kib(first)
        there.answer = answer
        for name in ("ann", "bob", "cid"):
            key = result_body(name, "claim")
            floor.store.put(key, text.encode(), content_type="application/json", expires_at=None)
            over(floor, there.url, Outcome(State.SUCCEEDED, 200, "", body_key=key), tenant=name)
        calls = [there.next() for _ in range(3)]
        for call in calls:
            told = call.headers["x-fal-webhook-request-id"]
            assert settled(floor, told) == "1"
            assert call.body == webhook.payload(told, succeeded=True, status=200, body=text)
            as_fal_documents(call, load_or_create_keys(floor.folder / "keys").jwks())
        assert peak_kib(first) - before_kib < 12 * 1024

    def test_a_courier_that_is_killed_loses_nothing(self, floor: Floor, spawn: Spawn, there: Receiver) -> None:
        hung = threading.Event()

        def hang(_: Call) -> Answer:
            hung.wait(DEADLINE_S)
            return 200, {}, b""

        there.answer = hang
        options = {"EGRESS_ALLOW": "127.0.0.1", "WEBHOOK_TIMEOUT_S": "1"}
        first = spawn("worker.courier", **options)
        id = over(floor, there.url)
        body = there.next().body
        first.process.kill()
        first.exit_status()
        hung.set()
        floor.redis.execute_command("ZADD", keys.WEBHOOKS, "XX", 1, id)  # its lease has ended
        second = spawn("worker.courier", **options)
        assert there.next().body == body
        assert settled(floor, id) == "1"
        pid_file = floor.folder / "run" / "courier.pid"
        assert int(pid_file.read_text()) == second.process.pid
        second.process.terminate()
        assert second.exit_status() == 0
        assert not pid_file.exists()

    def test_the_courier_rescues_what_a_dead_worker_held(self, floor: Floor) -> None:
        id = floor.submit()
        claim = commands.claim("gone", "claim", budget_px=2**50, lease_ms=1, retention_s=RETENTION_S)
        assert floor.do(claim) is not None
        with courier(floor):
            floor.until(id, lambda view: view.state is State.QUEUED)

    def test_the_courier_ends_what_nobody_starts_in_time(self, floor: Floor) -> None:
        with courier(floor):
            result = floor.finished(floor.submit(start_timeout_ms=200))
        assert (result.status, result.start_timed_out) == (504, True)

    def test_expired_files_are_deleted_and_others_stay(self, floor: Floor) -> None:
        for name in ("old", "new"):
            floor.store.put(f"uploads/{name}/x", b"x", content_type="text/plain", expires_at=None)
        floor.do(commands.expect_files(["uploads/new/x"], 2**52))
        with courier(floor, sweep_s=0.05):
            id = floor.submit(start_timeout_ms=100)
            floor.do(commands.expect_files(["uploads/old/x", "uploads/never/there"], 1))
            floor.finished(id)
            deadline_s = time.monotonic() + DEADLINE_S
            while floor.redis.execute_command("ZSCORE", keys.FILES, "uploads/never/there") is not None:
                assert time.monotonic() < deadline_s
                threading.Event().wait(0.02)
        assert floor.redis.execute_command("ZCARD", keys.FILES) == 1
        assert not (floor.folder / "files" / "uploads" / "old").exists()
        assert floor.store.stat("uploads/new/x").size_bytes == 1
        floor.do(commands.forget_files(["uploads/new/x"]))


def test_a_postponed_delivery_was_not_tried(floor: Floor) -> None:
    id = over(floor, "http://hook")
    [taken] = floor.do(commands.deliver(limit=9, lease_ms=60_000))
    floor.do(commands.postpone(id, taken.attempt, by_ms=0))
    [again] = floor.do(commands.deliver(limit=9, lease_ms=60_000))
    assert again == taken
    floor.do(commands.postpone(id, taken.attempt + 1, by_ms=0))
    assert floor.do(commands.deliver(limit=9, lease_ms=60_000)) == []
