"""What a worker tells the web processes: which images have a result, and what waiting clients see.

A message is the numbers of the images and, behind them, the results of those that a client waits
for, signed with the secret key. Whoever else can write to the broker can wake who waits, and
nothing more: a result that is not signed, or was signed more than a minute ago, is read from the
database.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

from django.core import signing

from classifier.models import ModelVersion
from specimens.models import Prediction

# What a waiting client is shown of a prediction and its model, in the order of the models.
SHOWN: Final = (
    "cell_image_id",
    "model_version_id",
    "predicted_class",
    "decision",
    "reasons",
    "confidence",
    "probabilities",
    "ood_score",
    "milliseconds",
)
SHOWN_OF_MODEL: Final = ("id", "name", "version")
# A process of another version, which shows something else, cannot read it, and asks the database.
_SALT: Final = "specimens.announcements " + " ".join([*SHOWN, *SHOWN_OF_MODEL])
_LONGEST_NUMBER: Final = 18  # digits, within a 64-bit column
_FRESH_SECONDS: Final = 60


def message(cell_image_ids: Iterable[int], predictions: Sequence[Prediction] = ()) -> bytes:
    """Return what announces these images, with the results among them that are to be told."""
    parts = [str(number) for number in cell_image_ids]
    if predictions:
        told = [
            [_values(one, SHOWN), _values(one.model_version, SHOWN_OF_MODEL)] for one in predictions
        ]
        parts.append(signing.dumps(told, salt=_SALT))
    return " ".join(parts).encode() + b"\n"


def images_of(message: bytes) -> list[int]:
    """Return the images of one message, or of several."""
    return [
        int(part) for part in message.split() if part.isdigit() and len(part) <= _LONGEST_NUMBER
    ]


def results_of(message: bytes, wanted: Container[int]) -> dict[int, Prediction]:
    """Return the results of these images that one message tells of; none where it is not signed.

    They are not to be saved, and have no number of their own.
    """
    last = message.split()[-1:]
    if not last or last[0].isdigit():
        return {}
    try:
        told = signing.loads(last[0].decode("ascii", "replace"), salt=_SALT, max_age=_FRESH_SECONDS)
    except signing.BadSignature:
        return {}
    return {values[0]: _prediction(values, model) for values, model in told if values[0] in wanted}


def _values(row: Prediction | ModelVersion, names: Sequence[str]) -> list[Any]:
    return [getattr(row, name) for name in names]


def _prediction(values: list[Any], model: list[Any]) -> Prediction:
    prediction = Prediction.from_db(None, ["id", *SHOWN], [None, *values])
    prediction.model_version = ModelVersion.from_db(None, SHOWN_OF_MODEL, model)
    return prediction
