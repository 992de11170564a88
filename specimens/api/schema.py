"""What the OpenAPI schema says of each call: every status, with an example."""

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from specimens.api import examples, serializers


def answer(shape: Any, description: str, **cases: Any) -> OpenApiResponse:
    """Return one status with its examples by name."""
    return OpenApiResponse(
        shape,
        description,
        examples=[
            OpenApiExample(name.replace("_", " "), value=value) for name, value in cases.items()
        ],
    )


def error(description: str, *codes: str) -> OpenApiResponse:
    cases = {code: examples.error(code) for code in codes}
    return answer(serializers.Error, description, **cases)


_NO_ACCOUNT: Final = {
    401: error("No token, or a wrong one (with WWW-Authenticate).", "not_authenticated"),
    403: error("The account may not, or belongs to no site.", "not_allowed", "no_site"),
}
_UPLOAD: Final = {
    400: error("No file, an empty one, an unreadable form.", "no_file", "empty_file"),
    413: error("Too large, or too many images.", "too_large", "too_many_images"),
    415: error(
        "Not an image, not a supported kind, or not a multipart form.",
        "not_an_image",
        "animated",
        "unsupported_content_type",
    ),
    422: error("Damaged, or outside the limits.", "truncated", "too_many_pixels"),
}
_SERVER: Final = {
    500: error("The platform failed on this image or request.", "internal_error"),
    503: error("Full or away; with Retry-After.", "queue_full", "database_unavailable"),
    507: error("The disk is full.", "storage_unavailable"),
}
_TOO_MANY: Final = {429: error("Too many requests; with Retry-After.", "too_many_requests")}
_WRONG_METHOD: Final = {405: error("Another method.", "method_not_allowed")}
_QUEUED: Final = answer(
    serializers.QueuedAnswer,
    "Stored, the result is not there yet; Location and Retry-After say where and when to ask.",
    queued=examples.QUEUED,
)
_PREDICTION: Final = answer(
    serializers.PredictionAnswer,
    "Classified.",
    classified=examples.PREDICTION,
    abstained=examples.ABSTAINED,
)

PREDICT: Final = extend_schema(
    operation_id="predict",
    summary="Classify one image of one cell",
    description=(
        "Stores the image, waits up to two seconds for its class. The content decides what the "
        "file is, not its name."
    ),
    tags=["Classification"],
    request={"multipart/form-data": serializers.PredictForm},
    responses={
        200: _PREDICTION,
        202: _QUEUED,
        **_UPLOAD,
        **_NO_ACCOUNT,
        **_WRONG_METHOD,
        **_TOO_MANY,
        **_SERVER,
    },
)
PREDICT_BATCH: Final = extend_schema(
    operation_id="predict_batch",
    summary="Classify several images, one cell each",
    description="One entry for each image, in the order sent. A bad image spoils no other.",
    tags=["Classification"],
    request={"multipart/form-data": serializers.PredictBatchForm},
    responses={
        200: answer(
            serializers.BatchAnswer, "At least one image is classified.", mixed=examples.BATCH
        ),
        202: answer(
            serializers.BatchAnswer,
            "Some results are not there yet: their entries carry status and status_url.",
            queued=examples.BATCH_QUEUED,
        ),
        **{code: _UPLOAD[code] for code in (400, 413, 415)},
        422: answer(
            serializers.BatchAnswer, "No image could be classified.", refused=examples.BATCH_BAD
        ),
        **_NO_ACCOUNT,
        **_WRONG_METHOD,
        **_TOO_MANY,
        **_SERVER,
    },
)
PREDICTION: Final = extend_schema(
    operation_id="prediction",
    summary="What became of an image sent earlier",
    description="Answers what the predict call would have answered, had it waited until now.",
    tags=["Classification"],
    parameters=[
        OpenApiParameter(
            "identifier",
            OpenApiTypes.STR,
            OpenApiParameter.PATH,
            description="The `id` of the predict call's answer.",
        )
    ],
    responses={
        200: _PREDICTION,
        202: _QUEUED,
        404: error("No such image, or not one of your sites.", "not_found"),
        415: _UPLOAD[415],
        422: _UPLOAD[422],
        **_NO_ACCOUNT,
        **_WRONG_METHOD,
        **_TOO_MANY,
        **{code: _SERVER[code] for code in (500, 503)},
    },
)
HEALTH: Final = extend_schema(
    operation_id="health",
    summary="Would a predict call succeed now?",
    tags=["Service"],
    auth=[],
    responses={
        200: answer(serializers.HealthAnswer, "It would.", well=examples.HEALTH),
        503: answer(
            serializers.HealthAnswer, "It would not; a part says why.", ill=examples.HEALTH_ILL
        ),
        **_WRONG_METHOD,
    },
)
MODEL_INFO: Final = extend_schema(
    operation_id="model_info",
    summary="The model that answers: version, classes, metrics, data, limits",
    tags=["Service"],
    responses={
        200: answer(serializers.ModelInfoAnswer, "The active version.", model=examples.MODEL_INFO),
        401: _NO_ACCOUNT[401],
        503: error("No model has been registered yet.", "no_model", "database_unavailable"),
        **_WRONG_METHOD,
        **_TOO_MANY,
    },
)
