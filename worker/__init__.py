"""The GPU side: claims requests, paints them, stores the pictures, says how it ended.

Two processes start here: `worker.app` (Celery, engine, model) and `worker.courier` (webhooks and sweeps, no torch).
"""
