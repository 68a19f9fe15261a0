"""WSGI entry: the same ingest contract through the DRF view, at Django's speed."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventsite.settings")
application = get_wsgi_application()

from eventsite import metrics  # noqa: E402  needs configured settings

metrics.share()
