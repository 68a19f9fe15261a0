"""Every address of the site but those of health, which are asked by machines (health.py)."""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from eventsite import views
from eventsite.api import unknown_route
from projects import schema  # noqa: F401  registers how the API docs name the ways to log in

# Swagger UI writes style attributes and keeps its icons in data: URLs. Its scripts are files of ours, none
# inline.
docs = csp_update({"style-src": ["'unsafe-inline'"], "img-src": ["data:"]})(
    SpectacularSwaggerSplitView.as_view(url_name="api-schema")
)

admin.autodiscover()  # here: workers have no addresses, and no use for its 20 MB
admin.site.login = views.admin_login  # type: ignore[method-assign]
admin.site.site_title = admin.site.site_header = "Eventsite"

urlpatterns = [
    path("", views.home, name="home"),
    path("theme", views.theme, name="theme"),
    path("", include("projects.page_urls")),
    path("", include("events.views.urls")),
    path("", include("events.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("projects.urls")),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="api-schema"),
    re_path(r"^api/docs/?$", docs, name="api-docs"),
    re_path(r"^api/", unknown_route),
]
handler500 = "eventsite.errors.server_error"
