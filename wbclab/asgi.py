"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import os

from django.core.asgi import get_asgi_application

from wbclab.request_body import BoundedBody, body_limit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
application = BoundedBody(get_asgi_application(), body_limit)
