"""The naive service that wbclab is measured against: what a demo around a Keras model does.

Each request decodes its image with Pillow, resizes it and calls `model.predict` for it, one image
at a time, also in a batch. Same network, same weights, same preprocessing, same answers; nothing is
stored, queued, limited or checked.

    uvicorn bench.baseline_service:application
"""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, JsonResponse
from django.urls import path
from PIL import Image

from classifier.artifact import DEFAULT_FOLDER, KERAS_WEIGHTS_FILE, ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.decision import calibrated_probabilities
from classifier.nn.dmfnet import load_dmfnet
from classifier.preprocessing import prepare

_ARTIFACT = ModelArtifact.load(os.environ.get("WBCLAB_MODEL_DIR", DEFAULT_FOLDER))
_MODEL = load_dmfnet(_ARTIFACT.path(KERAS_WEIGHTS_FILE))


def _classify(upload: "UploadedFile[bytes]") -> dict[str, Any]:
    pixels = prepare(Image.open(upload).convert("RGB"))
    logits = _MODEL.predict(pixels[None].astype(np.float32), verbose=0)["logits"]
    probabilities = calibrated_probabilities(logits, _ARTIFACT.temperature)[0]
    index = int(probabilities.argmax())
    ordered = sorted(zip(CELL_CLASSES, probabilities, strict=True), key=lambda pair: -pair[1])
    return {
        "predicted_class": CELL_CLASSES[index],
        "confidence": float(probabilities[index]),
        "all_probabilities": {name: float(probability) for name, probability in ordered},
        "predicted_class_index": index,
    }


def _predict(request: HttpRequest) -> JsonResponse:
    (upload,) = request.FILES.getlist("file")
    answer = {"success": True, "filename": upload.name, "message": "Classified"}
    return JsonResponse(answer | {"results": _classify(upload)})


def _predict_batch(request: HttpRequest) -> JsonResponse:
    uploads = request.FILES.getlist("images")
    results = [
        {"filename": upload.name, "success": True, "results": _classify(upload)}
        for upload in uploads
    ]
    return JsonResponse(
        {
            "success": True,
            "total_images": len(results),
            "successful_predictions": len(results),
            "success_rate": 1.0,
            "batch_results": results,
            "message": "Classified",
        }
    )


def _health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("api/predict", _predict),
    path("api/predict_batch", _predict_batch),
    path("api/health", _health),
]

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="bench")  # noqa: S106
_MODEL.predict(np.zeros((1, 128, 128, 3), np.float32), verbose=0)
application = get_asgi_application()
