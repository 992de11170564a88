from django.urls import URLPattern, URLResolver, include, path

from specimens.admin_site import site as administration

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", administration.urls),
    path("api/", include("specimens.api.urls")),
    path("dicom-web/", include("specimens.api.dicomweb.urls")),
    path("fhir/", include("specimens.api.fhir.urls")),
    path("v2/", include("specimens.api.inference_protocol")),
    path("", include("specimens.urls")),
]

# Below /api/ in the shape of the API's errors, elsewhere Django's own pages.
handler400 = "specimens.api.handlers.bad_request"
handler500 = "specimens.api.handlers.server_error"
