"""One thread owns the device: admit, gather and denoise, scatter, retire; then the same again with whoever is there.

Knows requests only as `Job`s. Torch is the runner's business; this module and the scheduler run without it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Final, Generic, TypeVar

from PIL import Image

from shared.errors import Cancelled, DeviceLost, Fault, InternalFault, OutOfMemory, TotalTimeout, Unavailable
from worker.engine.fatal import Fatal, exhausted, fault_of, reason
from worker.engine.job import Job, OnProgress, Painting
from worker.engine.protocol import BatchKey, Decoded, Runner, State, Stopped, Suspected, Unusable
from worker.engine.room import Room
from worker.engine.scheduler import Scheduler
from worker.engine.sharing import Sharing
from worker.engine.ticket import Stats, Ticket

_log = logging.getLogger(__name__)

S = TypeVar("S", bound=State)
P = TypeVar("P")
T = TypeVar("T")
_SHRUNK_S: Final = 600.0
"""For so long fewer pictures of a size share a call, once more did not fit: other programs, too, use the device."""
_LATE: Final = 2
"""What breaks the device may be told so by whatever is done there until so many steps later."""


def _survive(_error: Exception) -> None:
    return


class Engine(Generic[S, P]):
    """Paints jobs together. `submit`, `cancel` and the figures may be called from any thread.

    previews_s: at most one preview per job in this many seconds; None makes none and costs nothing.
    hang_s:     a preparation, a step or a decoding that takes longer ends it all, with every thread's traceback: by
                `on_fatal` where the engine's thread can still run, else by ending the process. None never does.
    on_fatal:   called once, on the engine's thread, when only a new process can help; every job has failed by then.
    """

    def __init__(
        self,
        runner: Runner[S, P],
        *,
        previews_s: float | None = None,
        hang_s: float | None = None,
        on_fatal: Callable[[Exception], None] = _survive,
    ) -> None:
        self._runner = runner
        self._previews_s = previews_s
        self._on_fatal = on_fatal
        self._shrunk: dict[BatchKey, tuple[int, float]] = {}
        self._room_to_prepare, self._room_to_decode = Room(), Room()
        self._scheduler: Scheduler[Ticket[S]] = Scheduler(self._slots_of)
        self._stats = Stats()
        self._began_s = time.monotonic()
        self._wake = threading.Condition()
        self._inbox: deque[Ticket[S]] = deque()
        self._tickets: list[Ticket[S]] = []
        self._closing = False
        self._broken: Exception | None = None
        self._sharing = Sharing[S](self._wake, hang_s=hang_s)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finisher")

    # ---- called from any thread

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job, on_progress: OnProgress) -> Future[Painting]:
        """The future's faults: `Cancelled`, `TotalTimeout`, `OutOfMemory`, `InternalFault`; where the engine cannot go
        on, or a step failed, `Suspected` for a job that may have been why and `Stopped` for one that was not. Cancel
        through `cancel`; the future's own `cancel` does nothing. Callbacks added to it run on the engine's threads and
        must return at once."""
        key = self._runner.key(job.image.width, job.image.height, precise=False)
        ticket = Ticket[S](job, key, on_progress, time.monotonic())
        ticket.future.set_running_or_notify_cancel()
        with self._wake:
            refused = not self.takes_jobs
            if not refused:
                self._tickets.append(ticket)
                self._inbox.append(ticket)
                self._wake.notify_all()
        if refused:
            ticket.future.set_exception(Stopped("The engine takes no more work"))
        return ticket.future

    def cancel(self, id: str) -> None:
        """Every job of that id stops before its next step. Not an error when there is none."""
        with self._wake:
            for ticket in self._tickets:
                if ticket.job.id == id:
                    ticket.cancelled = True
            self._wake.notify_all()

    @property
    def takes_jobs(self) -> bool:
        """False from before the first job fails that fails because the engine closes or cannot go on."""
        return not self._closing and self._broken is None

    def capacity_px(self, width: int, height: int) -> int:
        """How many pixels of pictures of this size (in pixels) may share a step."""
        return self._slots_of(self._runner.key(width, height, precise=False)) * width * height

    def running_px(self) -> int:
        """Pixels of all pictures that hold or wait for a slot; those being decoded have left theirs."""
        with self._wake:
            return sum(ticket.job.cost_px for ticket in self._tickets if not ticket.decoding)

    def rate(self) -> float:
        """Step-pixels per second while busy; 0.0 before the first step."""
        return self._stats.rate

    def stats(self) -> Stats:
        """A copy of the meters."""
        return replace(self._stats, up_s=time.monotonic() - self._began_s)

    def close(self, *, wait: bool) -> None:
        """Takes no more jobs. `wait` finishes those in flight; otherwise they fail with `Unavailable`."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if not wait:
            self._break(Unavailable("The engine is closing"))
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        self._finisher.shutdown(wait=wait, cancel_futures=not wait)
        self._collapse(Unavailable("The engine is closed"))
        self._runner.close()

    # ---- the engine's thread

    def step(self) -> bool:
        """Everything once. False when there was nobody to step."""
        self._admit()
        turn = self._scheduler.turn()
        if not turn:
            return False
        began_s = self._sharing.worked_s
        stepped, predicted_s = self._denoise(turn)
        self._meter(stepped, self._sharing.worked_s - began_s, predicted_s)
        now_s = time.monotonic()
        for ticket in stepped:
            self._report(ticket, now_s)
            self._retire(ticket, now_s)
        return True

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self.step()
        except Exception as error:  # noqa: BLE001 - the thread must not die in silence
            self._break(error)
        if self._broken is not None:
            self._collapse(self._broken)
        self._sharing.alarm.off()

    def _break(self, error: Exception) -> None:
        """The engine's thread ends, and with it everything: by the first who says so. From now on nothing is taken."""
        with self._wake:
            self._broken = self._broken or error
            self._wake.notify_all()

    def _wait_for_work(self) -> bool:
        """True when there is something to step; False when the thread should end."""
        while True:
            if self._broken is not None:
                return False
            if self._scheduler.entries():
                return True
            with self._wake:
                if self._inbox:
                    return True
                if self._tickets:
                    self._wait_for_a_decoding(lambda: bool(self._inbox))
                else:
                    self._sharing.alarm.off()
                    self._wake.wait_for(lambda: self._inbox or self._closing or self._broken)
                if self._closing and not self._tickets:
                    return False

    def _wait_for_a_decoding(self, unless: Callable[[], bool]) -> None:
        """To end, or to begin its second try, or the whole engine to end. Each has its own time. Also when we close: it
        may be sent back for new steps."""
        self._sharing.look()
        waiting, watched = self._being_decoded(), self._sharing.decoding

        def news() -> bool:
            return self._being_decoded() < waiting or self._sharing.decoding is not watched

        self._wake.wait_for(lambda: self._broken or news() or unless())

    def _being_decoded(self) -> int:
        return sum(ticket.decoding for ticket in self._tickets)

    def _admit(self) -> None:
        with self._wake:
            arrived, self._inbox = self._inbox, deque()
        for ticket in arrived:
            self._scheduler.add(ticket)
        self._drop_ended()
        joined = self._scheduler.admit()
        for ticket in joined:
            self._prepare(ticket)
        if joined:
            self._drop_ended()  # that took a while

    def _drop_ended(self) -> None:
        now_s = time.monotonic()
        for ticket in self._scheduler.entries():
            if ticket.cancelled:
                self._drop(ticket, Cancelled())
            elif now_s > ticket.job.deadline_s:
                self._drop(ticket, TotalTimeout())

    def _prepare(self, ticket: Ticket[S]) -> None:
        began_s, worked_s = time.monotonic(), self._sharing.worked_s
        ticket.joined_s = ticket.joined_s or began_s
        ticket.last_tick = self._stats.ticks
        try:
            ticket.state = self._again_alone(
                ticket, self._room_to_prepare, lambda: self._prepared(ticket), self._decoded_all
            )
        except (DeviceLost, Fatal, Stopped):
            raise
        except Unusable as error:
            self._drop(ticket, self._unpaintable(ticket, str(error)))
        except Exception as error:  # noqa: BLE001 - one job's fault stays its own
            self._drop(ticket, fault_of(error, ticket.job))
        ticket.prepare_s += time.monotonic() - began_s
        ticket.gpu_s += self._sharing.worked_s - worked_s
        self._stats.prepare_s += self._sharing.worked_s - worked_s

    def _prepared(self, ticket: Ticket[S]) -> S:
        with self._sharing.at_work():
            return self._runner.prepare(ticket.job, ticket.key)

    def _decoded_all(self) -> AbstractContextManager[object]:
        """Returns when what is being decoded has given its memory back. Raises `Stopped` where the engine ends."""
        with self._wake:
            while self._being_decoded() and not self._broken:
                self._wait_for_a_decoding(lambda: False)
        if self._broken:
            raise Stopped
        return nullcontext()

    def _denoise(self, turn: Sequence[Ticket[S]]) -> tuple[list[Ticket[S]], float]:
        """One step of everybody in the turn. Returns who was stepped, and the seconds inside the model."""
        began_s = self._sharing.worked_s
        for ticket in turn:
            ticket.last_tick = self._stats.ticks
        predicted = self._predict([(ticket, ticket.state) for ticket in turn if ticket.state is not None])
        predicted_s = self._sharing.worked_s - began_s
        stepped = [ticket for ticket, _, _ in predicted]
        if not stepped:
            return [], predicted_s
        try:
            with self._sharing.at_work():
                self._runner.advance([state for _, state, _ in predicted], [said for _, _, said in predicted])
        except OutOfMemory as error:
            raise exhausted(stepped, reason(error)) from error
        except (DeviceLost, Fatal):
            raise
        except Exception as error:  # noqa: BLE001 - a half-stepped batch cannot be tried again
            alone = len(stepped) == 1
            for ticket in stepped:
                fault = fault_of(error, ticket.job)
                self._drop(ticket, fault if alone else Suspected(fault))
            return [], predicted_s
        return stepped, predicted_s

    def _predict(self, batch: list[tuple[Ticket[S], S]]) -> list[tuple[Ticket[S], S, P]]:
        """Out of memory: tried again with nothing beside it, then with half as many pictures in a call, and so on, and
        what cannot be cut once more as it is. Any other fault: each is tried alone, to find the guilty."""
        tickets, again = [ticket for ticket, _ in batch], False
        while True:
            beside = self._being_decoded() > 0
            try:
                return self._call(batch)
            except OutOfMemory as error:
                why = reason(error)
            except (DeviceLost, Fatal):
                raise
            except Exception as error:  # noqa: BLE001 - one job's fault stays its own
                if len(batch) == 1:
                    self._drop(tickets[0], fault_of(error, tickets[0].job))
                    return []
                break
            # Here and not above: what failed holds its memory as long as its exception lives.
            if beside:
                self._decoded_all()
            elif not self._halve(tickets):
                if again:
                    return self._give_up(tickets, why)
                again = True
        return [triple for pair in batch for triple in self._predict([pair])]

    def _give_up(self, tickets: Sequence[Ticket[S]], why: str) -> list[tuple[Ticket[S], S, P]]:
        if not tickets[0].precise:
            raise exhausted(tickets, why)
        for ticket in tickets:
            self._drop(ticket, self._unpaintable(ticket, why))
        return []

    def _call(self, batch: list[tuple[Ticket[S], S]]) -> list[tuple[Ticket[S], S, P]]:
        with self._sharing.at_work():
            predictions = self._runner.predict([state for _, state in batch], slots=self._slots_of(batch[0][0].key))
        return [(ticket, state, said) for (ticket, state), said in zip(batch, predictions, strict=True)]

    def _halve(self, tickets: Sequence[Ticket[S]]) -> bool:
        """For a while half as many pictures of this size go into one call. False where it was one."""
        key = tickets[0].key
        pictures = min(self._slots_of(key), sum(ticket.pictures for ticket in tickets))
        if pictures == 1:
            return False
        self._shrunk[key] = (pictures // 2, time.monotonic() + _SHRUNK_S)
        _log.warning("out of memory with %d pictures of %s in a step: for a while %d", pictures, key, pictures // 2)
        return True

    def _report(self, ticket: Ticket[S], now_s: float) -> None:
        state = ticket.state
        if state is None:
            return
        preview = None
        if self._previews_s is not None and now_s - ticket.previewed_s >= self._previews_s:
            ticket.previewed_s = now_s
            preview = self._preview(state)
        try:
            ticket.on_progress(ticket.progress(state.step, state.steps, now_s, preview))
        except Exception as error:  # noqa: BLE001
            self._drop(ticket, fault_of(error, ticket.job))

    def _preview(self, state: S) -> Callable[[], Image.Image] | None:
        """None where it cannot be had: no request ends for want of one."""
        try:
            return self._runner.preview(state)
        except DeviceLost:
            raise
        except Exception:  # noqa: BLE001
            _log.warning("no preview", exc_info=True)
            return None

    def _retire(self, ticket: Ticket[S], now_s: float) -> None:
        state = ticket.state
        if state is None or state.step < state.steps:
            return
        self._scheduler.remove(ticket)
        with self._wake:
            ticket.decoding = True
        finishing = self._finisher.submit(self._finish, ticket, state, now_s)
        finishing.add_done_callback(partial(self._finished, ticket))

    def _meter(self, stepped: Sequence[Ticket[S]], step_s: float, predict_s: float) -> None:
        pictures = sum(ticket.pictures for ticket in stepped)
        if not pictures:
            return
        self._stats.count(pictures, sum(ticket.job.cost_px for ticket in stepped), step_s, predict_s)
        for ticket in stepped:
            ticket.gpu_s += step_s * ticket.pictures / pictures

    # ---- the finisher's thread

    def _finish(self, ticket: Ticket[S], state: S, denoised_s: float) -> None:
        if self._broken is not None:
            return
        with self._sharing.decoded(ticket):
            outcome = Cancelled() if ticket.cancelled else self._outcome(ticket, state, denoised_s)
            if outcome is not None:
                self._settle(ticket, outcome)

    def _outcome(self, ticket: Ticket[S], state: S, denoised_s: float) -> Painting | Fault | Suspected | None:
        """Of a decoding; None where it begins again from the start."""
        try:
            decoded = self._again_alone(
                ticket, self._room_to_decode, lambda: self._decoded(ticket, state), lambda: self._sharing.alone(ticket)
            )
        except Unusable as error:
            return self._again(ticket, error)
        except (DeviceLost, Fatal) as error:
            self._break(error)  # before its job fails: nothing more is taken
            return Suspected(error.fault() if isinstance(error, Fatal) else error)
        except Exception as error:  # noqa: BLE001
            return fault_of(error, ticket.job)
        return Cancelled() if ticket.cancelled else ticket.painting(decoded, denoised_s, time.monotonic())

    def _decoded(self, ticket: Ticket[S], state: S) -> Decoded:
        began_s = time.monotonic()
        try:
            return self._runner.decode(state, job=ticket.job)
        finally:
            ticket.gpu_s += time.monotonic() - began_s

    def _finished(self, ticket: Ticket[S], finishing: Future[None]) -> None:
        """A bug outside of the decoding must not leave a job without its end."""
        if not finishing.cancelled() and (error := finishing.exception()) is not None:
            bug = Fatal("a decoded picture could not be handed over", [ticket], Unavailable)
            bug.__cause__ = error
            self._break(bug)

    def _again(self, ticket: Ticket[S], error: Unusable) -> Fault | None:
        """From the start in the next higher precision, once."""
        key = self._runner.key(ticket.job.image.width, ticket.job.image.height, precise=True)
        if ticket.precise or key == ticket.key:
            return self._unpaintable(ticket, str(error))
        _log.warning("job %s: %s in %s, once more in %s", ticket.job.id, error, ticket.key.dtype, key.dtype)
        ticket.key, ticket.precise, ticket.state = key, True, None
        with self._wake:
            ticket.decoding = False
            self._inbox.append(ticket)
            self._wake.notify_all()
        return None

    # ---- either

    def _unpaintable(self, ticket: Ticket[S], why: str) -> InternalFault:
        _log.error("job %s: no usable picture in %s: %s", ticket.job.id, ticket.key.dtype, why)
        return InternalFault("The model produced no usable picture for this request")

    def _again_alone(
        self, ticket: Ticket[S], room: Room, work: Callable[[], T], alone: Callable[[], AbstractContextManager[object]]
    ) -> T:
        """Out of memory: once more with the device to itself. What does not fit even then is `Fatal` where the device
        has lost room. A second try in higher precision that does not fit is `Unusable`."""

        def done() -> T:
            it = work()
            room.sufficed(ticket)
            return it

        try:
            return done()
        except OutOfMemory:
            _log.warning("job %s: out of memory, once more with nothing beside it", ticket.job.id)
        try:
            with alone():
                return done()
        except OutOfMemory as error:
            if ticket.precise:
                raise Unusable("no memory for a higher precision") from error
            if room.is_lost(ticket):
                raise exhausted([ticket], reason(error)) from error
            raise

    # ---- endings

    def _drop(self, ticket: Ticket[S], fault: Fault | Suspected) -> None:
        self._scheduler.remove(ticket)
        self._settle(ticket, fault)

    def _settle(self, ticket: Ticket[S], outcome: Painting | Fault | Suspected) -> None:
        ticket.state = None
        with self._wake:
            if ticket not in self._tickets:
                return
            self._tickets.remove(ticket)
            self._wake.notify_all()
        if isinstance(outcome, Painting):
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)

    def _collapse(self, error: Exception) -> None:
        """Fails everything in flight: as suspected who is why, or where nobody knows that, who may be; as stopped the
        rest."""
        closing = isinstance(error, Unavailable)
        with self._wake:
            self._broken = error
            left = list(self._tickets)
        if isinstance(error, Fatal):
            suspects, fault = error.guilty, error.fault
        else:
            suspects = [ticket for ticket in left if not closing and self._may_be_why(ticket, error)]
            fault = partial(Unavailable, "The engine failed while this request was in it")
        for ticket in left:
            self._drop(ticket, Suspected(fault()) if ticket in suspects else Stopped())
        if not closing:
            _log.critical("the engine cannot go on", exc_info=error)
            self._on_fatal(error)

    def _may_be_why(self, ticket: Ticket[S], error: Exception) -> bool:
        """A lost device: who had it do something that may not be done yet. A bug: also who only waits for it."""
        if not ticket.decoding and not isinstance(error, DeviceLost):
            return True
        return self._sharing.is_decoded(ticket) or self._stats.ticks - ticket.last_tick <= _LATE

    def _slots_of(self, key: BatchKey) -> int:
        most, until_s = self._shrunk.get(key, (0, 0.0))
        return most if time.monotonic() < until_s else max(1, self._runner.slots(key))
