"""The message that wakes a Celery worker: "there is work". It names no request and carries no promise.

The scripts push it themselves, in the step that makes the work, so that submitting needs no Celery. `doorbell.json`
is what the pinned kombu puts into a Redis list for `image.generate` with no arguments; a test regenerates it. kombu
encodes the body, so it is one constant; each ring replaces `@ring@` in the ids by its number.
"""

import json
from pathlib import Path
from typing import Final

NUMBER: Final = "@ring@"
"""Where the scripts write twelve hexadecimal digits."""

CAP: Final = 64
"""As many rings wait in the list at most: more would find the work done."""


def template() -> str:
    """The message as one line of JSON."""
    text = (Path(__file__).parent / "doorbell.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":"))
