"""What the Open Inference Protocol sends and receives: shapes, errors and examples for OpenAPI."""

from typing import Any, Final

from rest_framework import serializers

from classifier.classes import CELL_CLASSES
from specimens.api.schema import answer
from specimens.api.tensors import INPUT

PLATFORM: Final = "wbclab"
RETRY_SECONDS: Final = 5
INPUTS: Final = [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}]
# Name: (datatype, values of one prediction for each element of the batch).
OUTPUTS: Final[dict[str, tuple[str, list[int]]]] = {
    "probabilities": ("FP32", [-1, len(CELL_CLASSES)]),
    "class": ("BYTES", [-1]),
    "decision": ("BYTES", [-1]),
    "ood_score": ("FP32", [-1]),
    "id": ("BYTES", [-1]),
}


class Tensor(serializers.Serializer[Any]):
    name = serializers.CharField()
    datatype = serializers.CharField()
    shape = serializers.ListField(child=serializers.IntegerField())


class OutputTensor(Tensor):
    data = serializers.ListField(  # type: ignore[assignment] # Serializer's own attribute data
        child=serializers.JSONField(), help_text="Flat, the last dimension fastest."
    )


class InputTensor(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=[INPUT])
    datatype = serializers.ChoiceField(choices=["BYTES", "UINT8"])
    shape = serializers.ListField(
        child=serializers.IntegerField(min_value=1), min_length=1, max_length=4,
        help_text="BYTES: [n]. UINT8: [n, height, width, 3].",
    )  # fmt: skip
    data = serializers.ListField(  # type: ignore[assignment]
        child=serializers.JSONField(),
        help_text="BYTES: images in base64. UINT8: RGB values, flat or nested.",
    )


class RequestedOutput(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=list(OUTPUTS))


class InferRequest(serializers.Serializer[Any]):
    id = serializers.CharField(required=False, max_length=200, help_text="Repeated in the answer.")
    inputs = serializers.ListField(child=InputTensor(), min_length=1, max_length=1)
    outputs = RequestedOutput(many=True, required=False, help_text="Left out: all.")


class InferAnswer(serializers.Serializer[Any]):
    model_name = serializers.CharField()
    model_version = serializers.CharField()
    id = serializers.CharField(required=False)
    outputs = OutputTensor(many=True)


class ModelMetadata(serializers.Serializer[Any]):
    name = serializers.CharField()
    versions = serializers.ListField(child=serializers.CharField())
    platform = serializers.CharField()
    inputs = Tensor(many=True)
    outputs = Tensor(many=True)


class ServerMetadata(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField()
    extensions = serializers.ListField(child=serializers.CharField())


class ModelReady(serializers.Serializer[Any]):
    name = serializers.CharField()
    ready = serializers.BooleanField()


class Live(serializers.Serializer[Any]):
    live = serializers.BooleanField()


class Ready(serializers.Serializer[Any]):
    ready = serializers.BooleanField()


class ProtocolError(serializers.Serializer[Any]):
    error = serializers.CharField()


def errors(*statuses: int) -> dict[Any, Any]:
    texts = {
        400: ("The request is not what the model takes.", "One request takes 1 to 10 images."),
        401: ("No token, or a wrong one.", 'This call needs a token: "Authorization: Token ..."'),
        403: ("The account may not.", "Your account belongs to no site."),
        404: ("Another model or version.", "The model that is served is dmfnet, version 2.2.0."),
        405: ("Another method.", 'Method "DELETE" not allowed.'),
        413: ("Too large.", "The request is larger than 32 MB. Nothing was stored."),
        415: ("Not JSON, or not an image.", "image-0 is not an image."),
        422: ("Damaged, or outside the limits.", "image-0: the file ends too early."),
        429: ("Too many requests; with Retry-After.", "This token has used up its requests."),
        500: ("The platform failed.", "The server failed on this request."),
        503: ("Away, full or late; with Retry-After.", "No model is active."),
        507: ("The disk is full.", "The images could not be stored; none was accepted."),
    }
    return {
        code: answer(ProtocolError, texts[code][0], error={"error": texts[code][1]})
        for code in statuses
    }


READING: Final = (401, 403, 404, 405, 429, 500, 503)
METADATA: Final[dict[str, Any]] = {
    "name": "dmfnet",
    "versions": ["2.2.0"],
    "platform": PLATFORM,
    "inputs": INPUTS,
    "outputs": [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in OUTPUTS.items()
    ],
}
INFERRED: Final[dict[str, Any]] = {
    "model_name": "dmfnet",
    "model_version": "2.2.0",
    "id": "1",
    "outputs": [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [1, 5],
            "data": [0.001439, 0.001148, 0.001206, 0.001322, 0.994886],
        },
        {"name": "class", "datatype": "BYTES", "shape": [1], "data": ["Neutrophil"]},
        {"name": "decision", "datatype": "BYTES", "shape": [1], "data": ["Neutrophil"]},
        {"name": "ood_score", "datatype": "FP32", "shape": [1], "data": [0.348]},
        {"name": "id", "datatype": "BYTES", "shape": [1], "data": ["104"]},
    ],
}
