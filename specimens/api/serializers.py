"""The shapes of requests and answers, for the OpenAPI schema (the tests hold answers to it)."""

from typing import Any, Final

from rest_framework import serializers

from classifier.classes import CELL_CLASSES, UNIDENTIFIED

HEALTH_STATES: Final = ("ok", "unavailable")


class PredictForm(serializers.Serializer[Any]):
    file = serializers.FileField(help_text="One image of one cell.")


class PredictBatchForm(serializers.Serializer[Any]):
    images = serializers.ListField(
        child=serializers.FileField(),
        help_text="Images of one cell each: the field repeated, 10 times at most by default.",
    )


class Accepted(serializers.Serializer[Any]):
    formats = serializers.ListField(child=serializers.CharField())
    min_side = serializers.IntegerField(help_text="Pixels.")
    max_side = serializers.IntegerField(help_text="Pixels.")
    max_bytes = serializers.IntegerField()
    images_per_call = serializers.DictField(child=serializers.IntegerField())


class Error(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always false.")
    error = serializers.CharField(help_text="What was wrong, for people.")
    code = serializers.CharField(help_text="The same for programs.")
    id = serializers.CharField(
        required=False, help_text="Where the image was stored but could not be classified."
    )
    accepted = Accepted(required=False, help_text="Where the file or the form was at fault.")


class Results(serializers.Serializer[Any]):
    predicted_class = serializers.ChoiceField(
        choices=CELL_CLASSES, help_text="The most probable class, also where the model abstains."
    )
    confidence = serializers.FloatField(
        min_value=0, max_value=1, help_text="Its calibrated probability."
    )
    all_probabilities = serializers.DictField(
        child=serializers.FloatField(), help_text="By class name, the most probable first."
    )
    predicted_class_index = serializers.IntegerField(
        min_value=0, max_value=len(CELL_CLASSES) - 1, help_text="In the order of /api/model_info."
    )


class Timing(serializers.Serializer[Any]):
    """Milliseconds. Absent at the status address, except engine_ms."""

    receive_ms = serializers.FloatField(required=False, help_text="Checked and stored.")
    wait_ms = serializers.FloatField(required=False, help_text="Queue, decoding and model.")
    total_ms = serializers.FloatField(required=False)
    engine_ms = serializers.FloatField(help_text="The image's share of its batch in the model.")


class PredictionAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    filename = serializers.CharField()
    results = Results()
    message = serializers.CharField(help_text="One sentence for people.")
    id = serializers.CharField(help_text="Asks for the same answer at /api/predictions/{id}.")
    decision = serializers.ChoiceField(
        choices=(*CELL_CLASSES, UNIDENTIFIED.name),
        help_text="The class, or Unidentified where the model abstains: rely on this one.",
    )
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=("low_confidence", "out_of_distribution")),
        help_text="Why the model abstains; empty where it does not.",
    )
    ood_score = serializers.FloatField(
        min_value=0, help_text="Distance from what the model was trained on; above 1 it abstains."
    )
    model_version = serializers.CharField()
    timing = Timing()


class QueuedAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true: the image is stored.")
    status = serializers.CharField(help_text='Always "queued".')
    filename = serializers.CharField()
    message = serializers.CharField()
    id = serializers.CharField()
    status_url = serializers.URLField()


class BatchEntry(serializers.Serializer[Any]):
    """One of: a prediction (with results), an error (with error and code), queued (with status)."""

    filename = serializers.CharField()
    success = serializers.BooleanField()
    results = Results(required=False)
    message = serializers.CharField(required=False)
    id = serializers.CharField(required=False)
    decision = serializers.ChoiceField(choices=(*CELL_CLASSES, UNIDENTIFIED.name), required=False)
    reasons = serializers.ListField(child=serializers.CharField(), required=False)
    ood_score = serializers.FloatField(required=False)
    model_version = serializers.CharField(required=False)
    timing = Timing(required=False)
    error = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    status = serializers.CharField(required=False, help_text='"queued", or absent.')
    status_url = serializers.URLField(required=False)


class BatchAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="False where no image was of use.")
    total_images = serializers.IntegerField()
    successful_predictions = serializers.IntegerField()
    success_rate = serializers.FloatField(help_text="Per cent, 0 to 100, two decimals.")
    batch_results = BatchEntry(many=True, help_text="In the order sent.")
    message = serializers.CharField()


class HealthPart(serializers.Serializer[Any]):
    """State of one part, and numbers that depend on the part."""

    status = serializers.ChoiceField(choices=HEALTH_STATES)
    message = serializers.CharField(required=False)


class HealthAnswer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=HEALTH_STATES)
    parts = serializers.DictField(
        child=HealthPart(), help_text="database, storage, queue, model, worker, broker."
    )


class Thresholds(serializers.Serializer[Any]):
    temperature = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField(allow_null=True, help_text="Below it the model abstains.")
    ood_score = serializers.FloatField(allow_null=True, help_text="Above it the model abstains.")


class ModelInfoAnswer(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField()
    digest = serializers.CharField(help_text="SHA-256 over files and thresholds.")
    created = serializers.CharField(allow_null=True)
    classes = serializers.ListField(child=serializers.CharField(), help_text="By index.")
    input = serializers.DictField()
    preprocessing_version = serializers.CharField(allow_null=True)
    parameters = serializers.IntegerField(allow_null=True)
    thresholds = Thresholds()
    metrics = serializers.DictField(help_text="With the number of images and 95% intervals.")
    data = serializers.ListField(  # type: ignore[assignment]
        help_text="Sources with their licences."
    )
    training = serializers.DictField()
    intended_use = serializers.CharField(allow_blank=True)
    limitations = serializers.ListField(child=serializers.CharField())
    accepted = Accepted()
