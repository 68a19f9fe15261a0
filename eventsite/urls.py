"""Every address of the site but those of health, which are asked by machines (health.py)."""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from eventsite.api import unknown_route

# Swagger UI writes style attributes and keeps its icons in data: URLs. Its scripts are files of ours, none
# inline.
docs = csp_update({"style-src": ["'unsafe-inline'"]})(
    SpectacularSwaggerSplitView.as_view(url_name="api-schema")
)

admin.site.site_title = admin.site.site_header = "Eventsite"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("", include("events.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("projects.urls")),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="api-schema"),
    re_path(r"^api/docs/?$", docs, name="api-docs"),
    re_path(r"^api/", unknown_route),
]
handler500 = "eventsite.errors.server_error"
