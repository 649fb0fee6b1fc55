"""Where measured figures go: to the screen and the file, at once, so that a run that is cut leaves what it had."""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Sheet:
    """The figures of one part of it all. Those of other parts stay in the file.

    `seconds` is what the part may take; sections that come too late are left out, and it says so.
    """

    part: str
    file: Path | None
    seconds: float
    began_s: float = field(default_factory=time.monotonic)
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        before = self.file is not None and self.file.exists()
        self._parts: dict[str, Any] = json.loads(self.file.read_text()) if self.file and before else {}
        self._parts[self.part] = self.figures

    @property
    def left_s(self) -> float:
        return self.seconds - (time.monotonic() - self.began_s)

    def put(self, name: str, figures: Mapping[str, Any]) -> None:
        self.figures[name] = dict(figures)
        said = "  ".join(f"{key}={_short(value)}" for key, value in figures.items())
        print(f"[{time.monotonic() - self.began_s:5.0f} s] {name}: {said}", flush=True)
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self._parts, indent=1, ensure_ascii=False))

    def section(self, name: str, needs_s: float, measure: Callable[[], T]) -> T | None:
        """What it gives. None: it failed or was left out, the sheet says why beside what it had, and the next one
        comes."""
        if self.left_s < needs_s:
            self.put(name, {"left out": f"{self.left_s:.0f} s left, {needs_s:.0f} s wanted"})
            return None
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - the next section may well work
            traceback.print_exc()
            self.put(name, {**self.figures.get(name, {}), "failed": f"{type(error).__name__}: {str(error)[:500]}"})
            return None


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
