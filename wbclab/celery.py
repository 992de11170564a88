"""The Celery application. Its messages carry no content: they only ring (docs/architecture.md)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")

app = Celery("wbclab")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["specimens"])
