"""The portal's addresses. Names are used everywhere; nothing builds an address by hand."""

from django.contrib.auth import views as auth_views
from django.urls import URLPattern, URLResolver, path

from specimens.views import accession, cells, images, quality, specimen, uploads, worklist

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
