from django.urls import URLPattern, URLResolver, include, path

from specimens.admin import site as administration

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", administration.urls),
    path("api/", include("specimens.api.urls")),
    path("", include("specimens.urls")),
]
