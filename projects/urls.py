"""Under /api/. With and without the last slash: a redirect would turn a POST into a GET."""

from django.urls import re_path

from projects import api

PROJECT = r"^projects/(?P<project_id>[0-9]{1,19})"

urlpatterns = [
    re_path(r"^auth/login/?$", api.LoginView.as_view(), name="api-login"),
    re_path(r"^auth/logout/?$", api.LogoutView.as_view(), name="api-logout"),
    re_path(r"^auth/logoutall/?$", api.LogoutAllView.as_view(), name="api-logout-all"),
    re_path(
        r"^projects/?$", api.ProjectViewSet.as_view({"get": "list", "post": "create"}), name="api-projects"
    ),
    re_path(
        PROJECT + r"/?$",
        api.ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="api-project",
    ),
    re_path(
        PROJECT + r"/keys/?$", api.KeyViewSet.as_view({"get": "list", "post": "create"}), name="api-keys"
    ),
    re_path(
        PROJECT + r"/keys/(?P<key_id>[0-9]{1,19})/?$",
        api.KeyViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
        name="api-key",
    ),
]
