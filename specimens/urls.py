"""The portal's addresses. Names are used everywhere; nothing builds an address by hand."""

from django.contrib.auth import views as auth_views
from django.urls import URLPattern, URLResolver, path

from specimens.views import (
    accession,
    audit,
    cells,
    images,
    labels,
    quality,
    reports,
    review,
    review_queue,
    saved_views,
    second_read,
    signing,
    specimen,
    uploads,
    worklist,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", worklist.worklist, name="worklist"),
    path("search", worklist.search, name="search"),
    path("specimens/", worklist.specimen_list, name="specimen_list"),
    path("specimens/new", accession.accession, name="accession"),
    path("specimens/<int:pk>", specimen.specimen, name="specimen"),
    path("specimens/<int:pk>/live", specimen.specimen_live, name="specimen_live"),
    path("specimens/<int:pk>/images", uploads.add_images, name="add_images"),
    path("specimens/<int:pk>/requeue", specimen.requeue, name="requeue"),
    path("specimens/<int:pk>/reject", specimen.reject, name="reject"),
    path("review/", review_queue.review_queue, name="review_queue"),
    path("hotkeys", review.hotkeys, name="hotkeys"),
    path("specimens/<int:pk>/review", review.review, name="review"),
    path("specimens/<int:pk>/assign", review.assign, name="assign"),
    path("specimens/<int:pk>/cells.json", review.bench_cells, name="bench_cells"),
    path("specimens/<int:pk>/reviews", review.bench_reviews, name="bench_reviews"),
    path("specimens/<int:pk>/comments", review.bench_comments, name="bench_comments"),
    path("specimens/<int:pk>/second-read", second_read.second_read, name="second_read"),
    path(
        "specimens/<int:pk>/second-read/start",
        second_read.second_read_start,
        name="second_read_start",
    ),
    path(
        "specimens/<int:pk>/second-read/cells.json",
        second_read.second_read_cells,
        name="second_read_cells",
    ),
    path(
        "specimens/<int:pk>/second-read/labels",
        second_read.second_read_labels,
        name="second_read_labels",
    ),
    path(
        "specimens/<int:pk>/second-read/finish",
        second_read.second_read_finish,
        name="second_read_finish",
    ),
    path("specimens/<int:pk>/label", labels.label, name="label"),
    path("specimens/<int:pk>/sign-out", signing.sign_out, name="sign_out"),
    path("specimens/<int:pk>/amend", signing.amend, name="amend"),
    path("reports/<int:pk>", reports.report, name="report"),
    path("reports/<int:pk>.pdf", reports.report_as_pdf, name="report_pdf"),
    path("reports/<int:pk>.csv", reports.report_as_csv, name="report_csv"),
    path("reports/<int:pk>.json", reports.report_as_json, name="report_json"),
    path("views", saved_views.save, name="save_view"),
    path("views/<int:pk>/delete", saved_views.delete, name="delete_view"),
    path("audit/", audit.audit_trail, name="audit"),
    path("cells/<int:pk>", cells.cell, name="cell"),
    path("cells/<int:pk>/image", images.cell_image, name="cell_image"),
    path("cells/<int:pk>/thumbnail", images.cell_thumbnail, name="cell_thumbnail"),
    path("cells/<int:pk>/explanation", images.cell_explanation, name="cell_explanation"),
    path("model/", quality.model_page, name="model"),
    path(
        "login",
        auth_views.LoginView.as_view(
            template_name="account/login.html", redirect_authenticated_user=True
        ),
        name="login",
    ),
    path("logout", auth_views.LogoutView.as_view(), name="logout"),
    path(
        "password",
        auth_views.PasswordChangeView.as_view(template_name="account/password.html"),
        name="password_change",
    ),
    path(
        "password/done",
        auth_views.PasswordChangeDoneView.as_view(template_name="account/password_done.html"),
        name="password_change_done",
    ),
]
