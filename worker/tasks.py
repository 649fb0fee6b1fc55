"""One request from claim to outcome: picture in, engine, picture out, finish.

Owns the order of things. Knows nothing of Celery: `serve` is what `image.generate` does when a doorbell rings.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Collection
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Final

from PIL import Image

from shared import egress
from shared.errors import Cancelled, ServiceUnavailable, TotalTimeout, Unavailable
from shared.queue import commands
from shared.queue.records import Attempt, Held, Note, Outcome
from shared.queue.scripts import UNKEPT_TTL_S
from shared.wire.image import Input, result_size
from worker import outcomes, pictures, results, sources
from worker.admission import Admission, Grant
from worker.context import Context
from worker.engine.job import Job, Painting, Progress
from worker.engine.protocol import Stopped, Suspected
from worker.leases import Holding, LeaseLost, Leases
from worker.reports import Reports

_log = logging.getLogger(__name__)
_LEAVING_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a thread needs to work."""

    context: Context
    admission: Admission
    leases: Leases
    reports: Reports


def serve(bench: Bench) -> int:
    """Works until there is nothing that fits, or the worker drains. Returns how many requests it had in hand.

    A loop, because Celery looks for the next message only once a second while its threads are busy.
    """
    served = 0
    with bench.admission.seat():
        try:
            while grant := bench.admission.take(partial(_claim, bench.context)):
                _run(bench, grant)
                served += 1
        except ServiceUnavailable:
            _log.warning("no claim: Redis does not answer")
    return served


def _claim(context: Context, budget_px: int, avoided: Collection[str]) -> Attempt | None:
    settings, claim = context.settings, secrets.token_hex(16)
    if not context.engine.takes_jobs:
        return None  # it would fail at once, and an attempt of it would be spent
    command = commands.claim(
        context.worker,
        claim,
        budget_px=budget_px,
        lease_ms=settings.lease_ms,
        retention_s=settings.retention_s,
        avoided=avoided,
    )
    fence_s = time.monotonic() + settings.fence_ms / 1000
    return context.insist(command, lambda: time.monotonic() < fence_s)  # or what it got would run for nobody


def _run(bench: Bench, grant: Grant) -> None:
    held, left_ms = grant.attempt.held, grant.attempt.total_timeout_ms
    left_s = math.inf if left_ms is None else left_ms / 1000
    with bench.leases.hold(held, grant.claimed_s, left_s) as holding:
        bench.reports.begin(held)
        suspect = False
        try:
            outcome = _outcome(bench, grant, holding)
        except Suspected as error:
            outcome, suspect = outcomes.of_error(error.fault, held.id), True
        except LeaseLost:
            bench.reports.close(held)
            return
        except Stopped:
            bench.reports.close(held)
            bench.leases.give_back(holding)
            return
        finally:
            grant.denoised()
        _finish(bench.context, holding, outcome, bench.reports.close(held), suspect=suspect)


def _outcome(bench: Bench, grant: Grant, holding: Holding) -> Outcome:
    """How the attempt ended; raises only `LeaseLost`, `Stopped` where it was cut off by no fault of its own, and
    `Suspected` where it may have broken more than itself."""
    try:
        return _paint(bench, grant, holding)
    except (LeaseLost, Stopped, Suspected):
        raise
    except Exception as error:  # noqa: BLE001 - the task's edge: every request gets an answer
        return outcomes.of_error(error, holding.held.id)


def _paint(bench: Bench, grant: Grant, holding: Holding) -> Outcome:
    context, attempt = bench.context, grant.attempt
    wanted = Input.model_validate_json(attempt.input)
    picture = _picture(context, grant, wanted, holding)
    job = _job(holding, wanted, picture)
    grant.arrived(job.cost_px)
    bench.reports.say(attempt.held, lambda: f"picture loaded, painting {_pictures(job)}")
    painting = _painted(bench, grant, holding, job)
    holding.check()
    outcome = results.publish(context, _order(context, grant, wanted), painting)
    holding.check()
    return outcome


def _picture(context: Context, grant: Grant, wanted: Input, holding: Holding) -> Image.Image:
    """The input as the engine takes it: RGB, of the result's size. What may come late or never come, a download or a
    decoder's end, is waited for aside; a small file of this machine is read and decoded here, in less time than the
    hand-over takes."""
    key, content = grant.attempt.image_key, None
    if key is not None and context.store.is_local:
        content = sources.stored(context, key)
        if pictures.is_quick(content):
            return _fitted(context, wanted, content)
    stop = egress.Stop()
    coming = context.aside.submit(_fetched, context, wanted, key, content, stop)
    try:
        return holding.wait(coming, context.aside.longest_s)
    except TimeoutError as error:
        if coming.cancel():
            raise Unavailable("There was no thread to read the picture") from error
        raise pictures.unreadable("The file could not be read as a picture in time") from error
    finally:
        stop.make()
        if not coming.cancel():
            grant.leaves(coming)


def _fetched(context: Context, wanted: Input, key: str | None, content: bytes | None, stop: egress.Stop) -> Image.Image:
    if content is None:
        content = sources.fetched(context, wanted.image_url, stop) if key is None else sources.stored(context, key)
    return _fitted(context, wanted, content)


def _fitted(context: Context, wanted: Input, content: bytes) -> Image.Image:
    picture = pictures.decode(content, max_px=context.settings.max_input_px)
    size = result_size(picture.size, wanted.image_size, context.settings.max_pixels)
    return pictures.fit(picture, size)


def _job(holding: Holding, wanted: Input, picture: Image.Image) -> Job:
    return Job(
        id=holding.held.claim,
        request=holding.held.id,
        prompt=wanted.prompt,
        negative_prompt=wanted.negative_prompt,
        image=picture,
        strength=wanted.strength,
        steps=wanted.num_inference_steps,
        guidance_scale=wanted.guidance_scale,
        seed=wanted.seed or 0,
        images=wanted.num_images,
        solver=wanted.scheduler,
        check_safety=wanted.enable_safety_checker,
        deadline_s=holding.deadline_s,
    )


def _painted(bench: Bench, grant: Grant, holding: Holding, job: Job) -> Painting:
    """The engine's answer. A request that is stopped leaves the engine before this returns, unless a step takes very
    long, or it is being decoded: that cannot be stopped, and its pixels are free already."""
    engine = bench.context.engine
    future = engine.submit(job, _on_progress(bench, grant))
    try:
        return holding.wait(future)
    except (Cancelled, LeaseLost, TotalTimeout):
        engine.cancel(job.id)
        wait([future], _LEAVING_S)
        raise


def _on_progress(bench: Bench, grant: Grant) -> Callable[[Progress], None]:
    held, began_s = grant.attempt.held, time.monotonic()

    def on_progress(progress: Progress) -> None:
        if progress.step == progress.steps:
            grant.denoised()
        elapsed_s = time.monotonic() - began_s
        bench.reports.say(
            held,
            lambda: progress_bar(progress, elapsed_s),
            step=progress.step,
            steps=progress.steps,
            preview=progress.preview,
        )

    return on_progress


def progress_bar(progress: Progress, elapsed_s: float) -> str:
    """As tqdm shows it: ` 43%|████▎     | 13/30 [00:02<00:03,  5.10it/s]`."""
    share = progress.step / progress.steps
    eighths = int(share * 80)
    bar = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths < 80 else "")
    rate = f"{progress.step / elapsed_s:5.2f}it/s" if elapsed_s > 0 else "?it/s"
    left = "?" if progress.eta_s is None else _clock(progress.eta_s)
    return f"{share:4.0%}|{bar:10}| {progress.step}/{progress.steps} [{_clock(elapsed_s)}<{left}, {rate}]"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes:02d}:{seconds:02d}"


def _pictures(job: Job) -> str:
    size = f"{job.image.width}x{job.image.height}"
    return f"1 picture of {size}" if job.images == 1 else f"{job.images} pictures of {size}"


def _order(context: Context, grant: Grant, wanted: Input) -> results.Order:
    settings, attempt = context.settings, grant.attempt
    claimed_ms = attempt.lease_until_ms - settings.lease_ms
    now_ms = claimed_ms + round((time.monotonic() - grant.claimed_s) * 1000)
    kept_s = settings.retention_s if attempt.keep_io else min(settings.retention_s, UNKEPT_TTL_S)
    files_s = kept_s if attempt.file_ttl_s is None else attempt.file_ttl_s
    return results.Order(attempt, wanted, now_ms + files_s * 1000, now_ms + kept_s * 1000)


def _finish(context: Context, holding: Holding, outcome: Outcome, last: Note | None, *, suspect: bool) -> None:
    """Offers the outcome and the last words about it for as long as the lease may be believed in."""
    held, settings = holding.held, context.settings
    delay_ms = outcomes.retry_delay_ms(held.number)
    command = commands.finish(
        held, outcome, suspect=suspect, retention_s=settings.retention_s, retry_delay_ms=delay_ms, last=last
    )
    try:
        became = context.insist(command, lambda: not holding.lost)
    except ServiceUnavailable:
        _log.warning("outcome dropped: the lease is lost", extra={"request": held.id, "attempt": held.number})
    else:
        _log.info("attempt over: %s", became.value, extra=_fields(held, outcome))


def _fields(held: Held, outcome: Outcome) -> dict[str, object]:
    return {
        "request": held.id,
        "attempt": held.number,
        "state": outcome.state.value,
        "status": outcome.status,
        "error_type": outcome.error_type,
    }
