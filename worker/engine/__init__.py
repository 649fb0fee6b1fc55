"""Step-level continuous batching: requests join and leave the running batch at any denoising step.

Knows nothing of Redis, HTTP or storage. The scheduler and the engine know no torch; the runner does.
"""
