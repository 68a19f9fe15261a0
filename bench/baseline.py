"""What most people write first: a Django + DRF view, one INSERT a request, in its own transaction. Served as WSGI.

It checks no key, knows no duplicates and counts nothing; its database connection stays open. All of that favours it.
"""

import os
import uuid
from typing import Any

import dj_database_url
from django.conf import settings

settings.configure(
    SECRET_KEY="bench",  # noqa: S106  signs nothing
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[],
    INSTALLED_APPS=["rest_framework"],
    DATABASES={"default": dj_database_url.parse(os.environ["BENCH_DATABASE_URL"], conn_max_age=None)},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    },
)

import django  # noqa: E402  after the settings
from django.core.wsgi import get_wsgi_application  # noqa: E402

django.setup()

from django.db import models  # noqa: E402  after the setup
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Event(models.Model):
    event_id = models.UUIDField(unique=True, default=uuid.uuid4)
    name = models.CharField(max_length=200)
    user_id = models.CharField(max_length=200, null=True)  # noqa: DJ001  as in the product
    occurred_at = models.DateTimeField(default=timezone.now)
    properties = models.JSONField(default=dict)

    class Meta:
        app_label = "bench"
        db_table = "bench_event"  # made in steps.py

    def __str__(self) -> str:
        return self.name


class EventSerializer(serializers.ModelSerializer[Event]):
    class Meta:
        model = Event
        fields = ("event_id", "name", "user_id", "occurred_at", "properties")


class EventView(APIView):
    def post(self, request: Request, *args: Any) -> Response:
        serializer = EventSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response({"id": serializer.data["event_id"]}, status=201)


urlpatterns = [path("v1/events", EventView.as_view())]
application = get_wsgi_application()
