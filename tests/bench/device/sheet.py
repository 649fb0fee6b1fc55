"""Where measured figures go: to the screen and the file, at once, so that a run that is cut leaves what it had."""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Sheet:
    """`seconds` is what the whole run may take; sections that come too late are left out, and it says so."""

    file: Path | None
    seconds: float
    began_s: float = field(default_factory=time.monotonic)
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def left_s(self) -> float:
        return self.seconds - (time.monotonic() - self.began_s)

    def put(self, name: str, figures: Mapping[str, Any]) -> None:
        self.figures[name] = dict(figures)
        said = "  ".join(f"{key}={_short(value)}" for key, value in figures.items())
        print(f"[{time.monotonic() - self.began_s:5.0f} s] {name}: {said}", flush=True)
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.figures, indent=1, ensure_ascii=False))

    def section(self, name: str, needs_s: float, measure: Callable[[], None]) -> None:
        """A section that fails says why, and the next one comes."""
        if self.left_s < needs_s:
            self.put(name, {"left out": f"{self.left_s:.0f} s left, {needs_s:.0f} s wanted"})
            return
        try:
            measure()
        except Exception as error:  # noqa: BLE001 - the next section may well work
            traceback.print_exc()
            self.put(name, {"failed": f"{type(error).__name__}: {str(error)[:300]}"})


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
