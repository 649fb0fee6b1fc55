"""The HTTP side: validates, records, answers. Never imports the worker, Celery or torch."""
