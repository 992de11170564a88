"""The figures of a classifier, where training code has always found them."""

from classifier.evaluation.metrics import *  # noqa: F403
