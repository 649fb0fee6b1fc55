"""Everything about a device in one run of a few minutes: `python -m tests.bench.device`. See docs/performance.md."""
