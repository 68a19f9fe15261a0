"""ASGI entry: the ingest edge in front, then live streams, Django behind them."""

import gc
import os
from typing import cast

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventsite.settings")
django.setup(set_prefix=False)

from events.edge import Application, Edge  # noqa: E402  needs configured settings
from events.live.asgi import Live  # noqa: E402
from eventsite import metrics  # noqa: E402
from eventsite.handler import Handler  # noqa: E402
from tasks.pipeline import ring  # noqa: E402

metrics.share()

django_application = Handler()
application = Edge(Live(cast(Application, django_application)), ring)

# A thousand open requests are a hundred thousand objects that die young: the collector's default of 700 costs a sixth
# of the time. What was imported is never garbage.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 100)
