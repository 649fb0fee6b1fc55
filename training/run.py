"""What both steps of the training share: a resumable loop with a time limit, an average of the weights, a log.

Owns the loop, the optimiser and the files in the working folder. Does not know what is trained.
"""

import copy
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from training import kept

B = TypeVar("B")
SEED = 20261122
"""What is drawn by lot hangs on it."""


@dataclass(frozen=True, slots=True)
class Plan:
    steps: int
    learning_rate: float
    warm_up: int = 100
    average: float = 0.999
    """How much of the averaged weights stays at each step."""
    save_every_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training works: the folder that keeps its state, the device, and whether its time is over."""

    folder: Path
    device: torch.device
    over: Callable[[], bool]


def _rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    done = (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)
    return plan.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Run:
    """One resumable training. The state lies in `{folder}/{name}.pt`, a line per 25 steps in `{name}.jsonl`.

    All chance in a step hangs on its number, so a run that was stopped takes the steps that it would have taken. Raises
    `AnotherTraining` where the state there is of another plan, of other first weights, or `made_from` something else.
    """

    def __init__(self, name: str, model: nn.Module, place: Place, plan: Plan, *made_from: object) -> None:
        self.name, self.model, self.place, self.plan = name, model.to(place.device), place, plan
        self.origin = kept.origin_of(plan, model, *made_from)
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.01)
        self.step = 0
        self.state = place.folder / f"{name}.pt"
        if saved := kept.load(self.state, self.origin):
            model.load_state_dict(saved["model"])
            self.averaged.load_state_dict(saved["averaged"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step = saved["step"]

    @property
    def finished(self) -> bool:
        return self.step >= self.plan.steps

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict(), "step": self.step}
        kept.save(self.state, self.origin, state | {"optimiser": self.optimiser.state_dict()})

    def train(self, batch_of: Callable[[random.Random], B], loss_of: Callable[[B], Tensor]) -> bool:
        """Until the plan's last step (True) or until the time is over (False)."""
        began = saved = time.monotonic()
        first = self.step
        losses: list[float] = []
        while not self.finished and not self.place.over():
            losses.append(self._step(batch_of, loss_of))
            if self.step % 25 == 0:
                pace = (time.monotonic() - began) / (self.step - first)
                self._log(loss=sum(losses) / len(losses), seconds_per_step=round(pace, 3))
                losses.clear()
            if time.monotonic() - saved > self.plan.save_every_s:
                self.save()
                saved = time.monotonic()
        if self.step > first:
            self.save()
        return self.finished

    def _step(self, batch_of: Callable[[random.Random], B], loss_of: Callable[[B], Tensor]) -> float:
        rng = random.Random(f"{SEED} {self.name} {self.step}")
        torch.manual_seed(rng.getrandbits(62))  # pyright: ignore[reportUnknownMemberType]
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.plan, self.step)
        loss = loss_of(batch_of(rng))
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        return loss.item()

    def _log(self, **numbers: Any) -> None:
        with (self.place.folder / f"{self.name}.jsonl").open("a") as log:
            log.write(json.dumps({"step": self.step, **numbers}) + "\n")
