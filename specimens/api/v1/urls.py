"""The addresses below /api/v1/."""

from django.urls import URLPattern, path, re_path

from specimens.api.dicom import DicomView
from specimens.api.v1.base import NothingHereView
from specimens.api.v1.cells import (
    CellImageView,
    CellsView,
    CellThumbnailView,
    CellView,
    SpecimenCellsView,
)
from specimens.api.v1.deliveries import CancelView, DeliveriesView, DeliveryView, RetryView
from specimens.api.v1.orders import OrdersView, OrderView
from specimens.api.v1.predictions import PredictionsView, PredictionView
from specimens.api.v1.reports import ReportPdfView, ReportsView, ReportView
from specimens.api.v1.reviews import ReviewsView, ReviewView, SpecimenReviewsView
from specimens.api.v1.signing import AmendmentView, SignOutView
from specimens.api.v1.specimens import RejectionView, SpecimensView, SpecimenView
from specimens.api.v1.tokens import CurrentTokenView, RotateView

urlpatterns: list[URLPattern] = [
    path("orders", OrdersView.as_view(), name="v1_orders"),
    path("orders/<int:pk>", OrderView.as_view(), name="v1_order"),
    path("specimens", SpecimensView.as_view(), name="v1_specimens"),
    path("specimens/<int:pk>", SpecimenView.as_view(), name="v1_specimen"),
    path("specimens/<int:pk>/rejection", RejectionView.as_view(), name="v1_rejection"),
    path("specimens/<int:pk>/cells", SpecimenCellsView.as_view(), name="v1_specimen_cells"),
    path("specimens/<int:pk>/reviews", SpecimenReviewsView.as_view(), name="v1_specimen_reviews"),
    path("specimens/<int:pk>/sign-out", SignOutView.as_view(), name="v1_sign_out"),
    path("specimens/<int:pk>/amendments", AmendmentView.as_view(), name="v1_amendments"),
    path("cells", CellsView.as_view(), name="v1_cells"),
    path("cells/<int:pk>", CellView.as_view(), name="v1_cell"),
    path("cells/<int:pk>/image", CellImageView.as_view(), name="v1_cell_image"),
    path("cells/<int:pk>/thumbnail", CellThumbnailView.as_view(), name="v1_cell_thumbnail"),
    path("predictions", PredictionsView.as_view(), name="v1_predictions"),
    path("predictions/<int:pk>", PredictionView.as_view(), name="v1_prediction"),
    path("reviews", ReviewsView.as_view(), name="v1_reviews"),
    path("reviews/<int:pk>", ReviewView.as_view(), name="v1_review"),
    path("reports", ReportsView.as_view(), name="v1_reports"),
    path("reports/<int:pk>", ReportView.as_view(), name="v1_report"),
    path("reports/<int:pk>/pdf", ReportPdfView.as_view(), name="v1_report_pdf"),
    path("dicom/", DicomView.as_view(), name="v1_dicom"),
    path("dicom", DicomView.as_view(schema=None)),
    path("deliveries", DeliveriesView.as_view(), name="v1_deliveries"),
    path("deliveries/<int:pk>", DeliveryView.as_view(), name="v1_delivery"),
    path("deliveries/<int:pk>/retry", RetryView.as_view(), name="v1_delivery_retry"),
    path("deliveries/<int:pk>/cancel", CancelView.as_view(), name="v1_delivery_cancel"),
    path("tokens/current", CurrentTokenView.as_view(), name="v1_token"),
    path("tokens/rotate", RotateView.as_view(), name="v1_token_rotate"),
    re_path(r"", NothingHereView.as_view(schema=None)),
]
