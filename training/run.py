"""What both steps of the training share: a resumable loop with a time limit, an average of the weights, a log.

Owns the loop, the optimiser and the files in the working folder. Does not know what is trained.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Plan:
    steps: int
    learning_rate: float
    warm_up: int = 100
    average: float = 0.999
    """How much of the averaged weights stays at each step."""
    save_every_s: float = 120.0


def _rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    done = (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)
    return plan.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Run:
    """One resumable training. The state lies in `{folder}/{name}.pt`, a line per 25 steps in `{name}.jsonl`."""

    def __init__(self, name: str, model: nn.Module, folder: Path, plan: Plan, deadline: float | None) -> None:
        self.name, self.model, self.folder, self.plan, self.deadline = name, model, folder, plan, deadline
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.01)
        self.step = 0
        self.state = folder / f"{name}.pt"
        if self.state.exists():
            saved: dict[str, Any] = torch.load(self.state, weights_only=True)
            model.load_state_dict(saved["model"])
            self.averaged.load_state_dict(saved["averaged"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step = saved["step"]

    @property
    def finished(self) -> bool:
        return self.step >= self.plan.steps

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict(), "step": self.step}
        torch.save(state | {"optimiser": self.optimiser.state_dict()}, self.state.with_suffix(".new"))
        self.state.with_suffix(".new").replace(self.state)

    def train(self, batches: Iterator[Any], loss_of: Callable[[Any], Tensor]) -> bool:
        """Until the plan's last step (True) or the deadline (False)."""
        began = saved = time.monotonic()
        first, losses = self.step, []
        while not self.finished and not (self.deadline and time.monotonic() > self.deadline):
            for group in self.optimiser.param_groups:
                group["lr"] = _rate(self.plan, self.step)
            loss = loss_of(next(batches))
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            losses.append(loss.item())
            keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for slow, fast in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                    slow.lerp_(fast, 1 - keep)
            if self.step % 25 == 0:
                pace = (time.monotonic() - began) / (self.step - first)
                line = {"step": self.step, "loss": sum(losses) / len(losses), "seconds_per_step": round(pace, 3)}
                losses.clear()
                with (self.folder / f"{self.name}.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
            if time.monotonic() - saved > self.plan.save_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        return self.finished
