"""ASGI entry: the ingest edge in front, Django behind it."""

import os
from typing import cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventsite.settings")
django_application = get_asgi_application()

from events.edge import Application, Edge  # noqa: E402  needs configured settings
from tasks.pipeline import ring  # noqa: E402

application = Edge(cast(Application, django_application), ring)
