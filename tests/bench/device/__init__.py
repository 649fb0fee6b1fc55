"""Everything about a device in three runs of a few minutes: `python -m tests.bench.device`. See docs/performance.md."""

import sys

sys.modules.setdefault("peft", None)  # pyright: ignore  # adapters are nobody's here, and one that is too old ends calls
