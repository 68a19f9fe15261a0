"""`manage.py up`: checks the settings, then becomes the supervisor, which stays lean."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from eventsite import console, state

HANDED_OVER = (
    "HOST",
    "PORT",
    "FLOWER_PORT",
    "PUBLIC_URL",
    "WEB_WORKERS",
    "EVENTS_DRAIN_SLOTS",
    "EVENTS_STALL_SECONDS",
    "EVENTS_LAKE_DIR",
    "EVENTS_QUESTION_MEMORY_MB",
    "EVENTS_QUESTION_SLOTS",
    "VALKEY_MAXMEMORY_MB",
    "VALKEY_APPENDFSYNC",
)


class Command(BaseCommand):
    help = "Starts PostgreSQL, Valkey, web, workers and Flower, and keeps them running until Ctrl-C."
    requires_system_checks = []  # noqa: RUF012  the database is not there yet

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-d", "--detach", action="store_true", help="return once everything answers")

    def handle(self, *args: Any, **options: Any) -> None:
        # Values of a .env file or of the defaults become the environment of all that is started.
        checked = {name: str(getattr(settings, name)) for name in HANDED_OVER}
        env = {**os.environ, **checked, "EVENTSITE_VAR": str(settings.VAR_DIR)}
        argv = [sys.executable, "-m", "eventsite.supervisor"]
        os.chdir(settings.BASE_DIR)
        if options["detach"]:
            sys.exit(console.start_detached(state.places(settings.VAR_DIR), [*argv, "--detached"], env))
        os.execve(sys.executable, argv, env)  # noqa: S606
