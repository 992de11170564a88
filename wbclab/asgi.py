"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application

from classifier.imaging.refusal import MAX_BYTES
from wbclab.request_body import MEBIBYTE, BoundedBody

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")


def body_limit(path: str) -> int:
    """Return how many bytes a request to `path` may have: as many files as one call may hold."""
    api = path.startswith("/api/")
    files: int = settings.PREDICT_BATCH_LIMIT if api else settings.UPLOAD_BATCH_LIMIT
    # One file more than allowed, so that the view can say what is wrong; and room for the form.
    return (files + 1) * MAX_BYTES + MEBIBYTE


application = BoundedBody(get_asgi_application(), body_limit)
