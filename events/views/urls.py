"""The pages of events. A page of a project that stands in the navigation is named there (eventsite/pages.py, PLACES)."""

from django.urls import include, path

from events.views.project_keys import change_key, keys, new_key, revoke_key, saved_new_key
from events.views.project_settings import audit_log, limits, settings
from events.views.projects import project, projects
from events.views.start_here import first_event, saved_key, start_here

of_project = [
    path("start", start_here, name="start-here"),
    path("start/first", first_event, name="first-event"),
    path("start/saved", saved_key, name="saved-key"),
    path("settings", settings, name="settings"),
    path("settings/keys", keys, name="settings-keys"),
    path("settings/keys/saved", saved_new_key, name="settings-saved-key"),
    path("settings/keys/new", new_key, name="settings-new-key"),
    path("settings/keys/<int:key_id>", change_key, name="settings-change-key"),
    path("settings/keys/<int:key_id>/revoke", revoke_key, name="settings-revoke-key"),
    path("settings/limits", limits, name="settings-limits"),
    path("settings/audit", audit_log, name="settings-audit"),
]

urlpatterns = [
    path("projects", projects, name="projects"),
    path("projects/<int:project_id>", project, name="project"),
    path("projects/<int:project_id>/", include(of_project)),
]
