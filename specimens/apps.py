from django.apps import AppConfig


class SpecimensConfig(AppConfig):
    """The laboratory: patients, orders, specimens, cells, reports."""

    name = "specimens"
