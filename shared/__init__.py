"""What the API and the worker agree on: the nouns, the wire and the queue's state machine.

Knows pydantic, Redis and object storage. Does not know FastAPI, Celery or torch.
"""
