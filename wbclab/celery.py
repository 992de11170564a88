"""The Celery application. Its messages carry no content: they only ring (docs/architecture.md)."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")

app = Celery("wbclab")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["specimens"])


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Leave logging as the settings have it: Celery sets up its own where nobody is connected."""
