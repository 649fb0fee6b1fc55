"""Everything about a device in three runs of a few minutes: `python -m tests.bench.device`. See docs/performance.md."""
