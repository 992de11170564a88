"""Project package: settings, URLs, ASGI and Celery entry points."""

from wbclab.celery import app as celery_app

__all__ = ["celery_app"]
