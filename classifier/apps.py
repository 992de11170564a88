from django.apps import AppConfig


class ClassifierConfig(AppConfig):
    """What a cell is to a machine: pixels in, probabilities out."""

    name = "classifier"
