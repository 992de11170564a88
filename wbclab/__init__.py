"""Project package: settings, URLs, ASGI and Celery entry points."""
