"""The pages of events. A page of a project that stands in the navigation is named there (eventsite/pages.py, PLACES)."""

from django.urls import include, path

from events.views.event import one
from events.views.events import events, events_part, suggestions
from events.views.failures import failures, letter, letters, replay, turn_replay
from events.views.failures_edit import check_edit, edit
from events.views.overview import overview, overview_part
from events.views.person import person, person_names
from events.views.pipeline import pipeline, pipeline_now, pipeline_order
from events.views.project_keys import change_key, keys, new_key, revoke_key, saved_new_key
from events.views.project_settings import audit_log, limits, settings
from events.views.projects import project, projects
from events.views.settings_plan import plan, plan_check, plan_name
from events.views.start_here import first_event, saved_key, start_here
from events.views.trace import trace_page

of_project = [
    path("overview", overview, name="overview"),
    path("overview/<slug:name>", overview_part, name="overview-part"),
    path("events", events, name="events"),
    path("events/part/<slug:name>", events_part, name="events-part"),
    path("events/suggestions", suggestions, name="events-suggestions"),
    path("events/person", person, name="events-person"),
    path("events/person/names", person_names, name="events-person-names"),
    path("events/trace", trace_page, name="events-trace"),
    path("events/<uuid:event_id>", one, name="events-one"),
    path("failures", failures, name="failures"),
    path("failures/letters", letters, name="failures-letters"),
    path("failures/<int:letter_id>", letter, name="failures-letter"),
    path("failures/<int:letter_id>/edit", edit, name="failures-edit"),
    path("failures/<int:letter_id>/check", check_edit, name="failures-check"),
    path("failures/replays/<int:replay_id>", replay, name="failures-replay"),
    path("failures/replays/<int:replay_id>/turn", turn_replay, name="failures-turn"),
    path("pipeline", pipeline, name="pipeline"),
    path("pipeline/now", pipeline_now, name="pipeline-now"),
    path("pipeline/pause", pipeline_order, {"order": "pause"}, name="pipeline-pause"),
    path("pipeline/resume", pipeline_order, {"order": "resume"}, name="pipeline-resume"),
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
    path("settings/plan", plan, name="settings-plan"),
    path("settings/plan/name", plan_name, name="settings-plan-name"),
    path("settings/plan/check", plan_check, name="settings-plan-check"),
    path("settings/audit", audit_log, name="settings-audit"),
]

urlpatterns = [
    path("projects", projects, name="projects"),
    path("projects/<int:project_id>", project, name="project"),
    path("projects/<int:project_id>/", include(of_project)),
]
