"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
application = get_asgi_application()
