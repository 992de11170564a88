"""The Open Inference Protocol (KServe V2, REST) over the same queue as the predict calls.

Serving tools that people already have can call the model here. Every prediction is a row, as
everywhere; errors have the protocol's own shape, {"error": text}.
"""

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import Http404
from django.urls import URLPattern, path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.parsers import JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.imaging.intake import inspect
from classifier.imaging.refusal import ImageRefused
from classifier.models import ModelVersion
from specimens.api.answers import Outcome
from specimens.api.base import ApiView, MayPredict
from specimens.api.errors import ApiError, as_api_error, error_headers, image_error
from specimens.api.inference_shapes import (
    INFERRED,
    METADATA,
    OUTPUTS,
    PLATFORM,
    READING,
    RETRY_SECONDS,
    InferAnswer,
    InferRequest,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    errors,
)
from specimens.api.predict import Stopwatch, classify
from specimens.api.schema import answer
from specimens.api.tensors import ImageFile, UnusableTensor, image_files
from specimens.models import Prediction
from specimens.selectors.health import service_health
from specimens.selectors.predictions import identifier_of


class ProtocolView(ApiView):
    """Errors in the shape of the protocol."""

    parser_classes = [JSONParser]

    def get_exception_handler(self) -> Callable[..., Response]:
        """Answer {"error": text}."""
        return _error_answer


def _error_answer(exc: Exception, context: Mapping[str, Any]) -> Response:
    if isinstance(exc, UnusableTensor):
        return Response({"error": str(exc)}, status=status.HTTP_400_BAD_REQUEST)
    error = as_api_error(exc)
    headers = error_headers(exc)
    if error.code == "not_ready":
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Response({"error": error.text}, status=error.status_code, headers=headers)


class _OpenView(ProtocolView):
    authentication_classes = []
    permission_classes = [AllowAny]


class LiveView(_OpenView):
    """Is the process there?"""

    @extend_schema(
        operation_id="v2_live",
        summary="Is the server alive?",
        tags=["Open Inference Protocol"],
        auth=[],
        responses={200: answer(Live, "It is.", live={"live": True}), **errors(405)},
    )
    def get(self, request: Request) -> Response:
        """Answer, which is all that is asked."""
        return Response({"live": True})


class ReadyView(_OpenView):
    """Would an infer call succeed now?"""

    @extend_schema(
        operation_id="v2_ready",
        summary="Would an infer call succeed now?",
        tags=["Open Inference Protocol"],
        auth=[],
        responses={
            200: answer(Ready, "It would.", ready={"ready": True}),
            503: answer(Ready, "It would not; /api/health says why.", not_ready={"ready": False}),
            **errors(405),
        },
    )
    def get(self, request: Request) -> Response:
        """Answer 200 where every part is well, else 503."""
        return _ready_answer({})


class ServerView(ProtocolView):
    """The server itself."""

    @extend_schema(
        operation_id="v2_server",
        summary="The server and its extensions",
        tags=["Open Inference Protocol"],
        responses={
            200: answer(
                ServerMetadata,
                "What it is.",
                server={"name": PLATFORM, "version": "1", "extensions": []},
            ),
            **errors(401, 403, 405, 429, 500, 503),
        },
    )
    def get(self, request: Request) -> Response:
        """Answer the name and that there are no extensions."""
        return Response({"name": PLATFORM, "version": "1", "extensions": []})


class ModelView(ProtocolView):
    """What the model takes and gives."""

    @extend_schema(
        summary="Inputs and outputs of the model",
        tags=["Open Inference Protocol"],
        responses={
            200: answer(ModelMetadata, "What it takes and gives.", model=METADATA),
            **errors(*READING),
        },
    )
    def get(self, request: Request, name: str, version: str | None = None) -> Response:
        """Answer the metadata of the model that is active."""
        active = _served(name, version)
        return Response(METADATA | {"name": active.name, "versions": [active.version]})


class ModelReadyView(ProtocolView):
    """Would this model answer now?"""

    @extend_schema(
        summary="Would the model answer now?",
        tags=["Open Inference Protocol"],
        responses={
            200: answer(ModelReady, "It would.", ready={"name": "dmfnet", "ready": True}),
            **errors(*READING[:-1]),
            503: answer(ModelReady, "It would not.", not_ready={"name": "dmfnet", "ready": False}),
        },
    )
    def get(self, request: Request, name: str, version: str | None = None) -> Response:
        """Answer 200 where an infer call would succeed, else 503."""
        return _ready_answer({"name": _served(name, version).name})


class InferView(ProtocolView):
    """Images in, classes out."""

    permission_classes = [MayPredict]

    @extend_schema(
        summary="Classify images of one cell each",
        description=(
            "One tensor: BYTES [n], images in base64; or UINT8 [n, height, width, 3], RGB pixels. "
            "One bad image refuses the request; nothing of it is stored then."
        ),
        tags=["Open Inference Protocol"],
        request=InferRequest,
        responses={
            200: answer(InferAnswer, "One element for each image.", classified=INFERRED),
            **errors(400, *READING, 413, 415, 422, 507),
        },
    )
    def post(self, request: Request, name: str, version: str | None = None) -> Response:
        """Store the images, wait for the model, answer the tensors that were asked for."""
        served = _served(name, version)
        asked = request.data
        if not isinstance(asked, Mapping):
            raise UnusableTensor("Send a JSON object with inputs.")
        wanted, number = _wanted(asked.get("outputs")), _request_id(asked.get("id"))
        files = image_files(asked.get("inputs"), settings.PREDICT_BATCH_LIMIT)
        predictions = _predict(request, files)
        body: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
        if number is not None:
            body["id"] = number
        body["outputs"] = [_tensor(output, predictions) for output in wanted]
        return Response(body)


class NothingHereView(_OpenView):
    """Any other address below /v2/."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Answer 404 whatever the method."""
        raise Http404


def _served(name: str, version: str | None) -> ModelVersion:
    """Return the active model, if that is what is asked for."""
    active = ModelVersion.objects.filter(is_active=True).first()
    if active is None:
        text = "No model is active: no worker has started here yet. See /api/health."
        raise ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "not_ready", text)
    if name != active.name or version not in (None, active.version):
        text = f"The model that is served is {active.name}, version {active.version}."
        raise ApiError(status.HTTP_404_NOT_FOUND, "not_found", text)
    return active


def _ready_answer(body: dict[str, Any]) -> Response:
    ready = all(part.ok for part in service_health().values())
    code = status.HTTP_200_OK if ready else status.HTTP_503_SERVICE_UNAVAILABLE
    response = Response(body | {"ready": ready}, status=code)
    response._has_been_logged = True  # type: ignore[attr-defined] # asked every few seconds
    return response


def _wanted(outputs: object) -> list[str]:
    if outputs is None or outputs == []:
        return list(OUTPUTS)
    names = [
        one.get("name") if isinstance(one, Mapping) else None
        for one in (outputs if isinstance(outputs, list) else [None])
    ]
    if not all(isinstance(name, str) and name in OUTPUTS for name in names):
        raise UnusableTensor(f"The outputs are {', '.join(OUTPUTS)}, each named in an object.")
    return [str(name) for name in dict.fromkeys(names)]


def _request_id(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= 200):
        raise UnusableTensor('"id" must be text of at most 200 characters.')
    return value


def _predict(request: Request, files: list[ImageFile]) -> list[tuple[Outcome, Prediction]]:
    """Put the images through the queue; raise the first one's error, if there is any."""
    uploads = [SimpleUploadedFile(file.name, file.content) for file in files]
    for upload in uploads:
        try:
            inspect(cast("BinaryIO", upload.file), str(upload.name))
        except ImageRefused as refused:
            raise image_error(refused.code, refused.message) from refused
        upload.seek(0)
    wait = settings.INFER_WAIT_SECONDS
    outcomes = classify(request.user, uploads, Stopwatch(), seconds=wait)
    found = []
    for outcome in outcomes:
        if outcome.error is not None:
            error = outcome.error
            text = f"{outcome.filename}: {error.text}"
            raise ApiError(error.status_code, error.code, text)
        if not isinstance(outcome.result, Prediction):
            text = f"The images are stored and queued, and not classified within {wait:g} s."
            raise ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "not_ready", text)
        found.append((outcome, outcome.result))
    return found


def _tensor(name: str, predictions: list[tuple[Outcome, Prediction]]) -> dict[str, Any]:
    datatype, shape = OUTPUTS[name]
    data: list[Any] = []
    for outcome, prediction in predictions:
        data += _values(name, outcome, prediction)
    return {"name": name, "datatype": datatype, "shape": [len(predictions), *shape[1:]]} | {
        "data": data
    }


def _values(name: str, outcome: Outcome, prediction: Prediction) -> list[Any]:
    if name == "probabilities":
        return list(prediction.probabilities)
    if name == "ood_score":
        return [prediction.ood_score]
    if name == "id":
        return [identifier_of(outcome.image)] if outcome.image else [""]
    return [prediction.decision if name == "decision" else prediction.predicted_class]


def _for_model(suffix: str, view: type[ProtocolView], name: str) -> list[URLPattern]:
    """Return the address of a model and of one version of it."""
    return [
        path(f"models/<str:name>{suffix}", view.as_view(), name=name),
        path(
            f"models/<str:name>/versions/<str:version>{suffix}",
            view.as_view(),
            name=f"{name}_version",
        ),
    ]


urlpatterns: list[URLPattern] = [
    path("", ServerView.as_view(), name="v2_server"),
    path("health/live", LiveView.as_view(), name="v2_live"),
    path("health/ready", ReadyView.as_view(), name="v2_ready"),
    *_for_model("", ModelView, "v2_model"),
    *_for_model("/ready", ModelReadyView, "v2_model_ready"),
    *_for_model("/infer", InferView, "v2_infer"),
    re_path(r"", NothingHereView.as_view(schema=None)),
]
