"""`manage.py demo`: a month of a plausible web shop, on a running stack, so that every page has something to show."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import redis
from django import db
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from events import plan_change
from events.demo.flaws import PLAN, REFUSED, Sorter
from events.demo.live import Live
from events.demo.load import Loader, Stalled, check_stack, wait_until_sealed, wait_until_stored
from events.demo.month import ZONE, happenings
from events.demo.people import People
from eventsite.valkey import sync_client
from projects import services
from projects.models import Project
from tasks.pipeline import ring

SEED: Final = 7
PLAN_SECONDS: Final = 5.0  # within which every process knows a new tracking plan (docs/tracking-plan.md)
REPORT_SECONDS: Final = 5.0
LIVE_SECONDS: Final = 0.25


class Command(BaseCommand):
    help = "Makes a project with a month of a web shop's events, some of which wait to be mended. Needs a running stack."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--project", default="Web shop", metavar="NAME", help="how the new project is called"
        )
        parser.add_argument("--days", type=int, default=30, help="how far back (default: 30)")
        parser.add_argument("--events", type=int, default=200_000, help="about how many (default: 200000)")
        parser.add_argument("--seed", type=int, default=SEED, help="the same seed makes the same month")
        parser.add_argument(
            "--owner", metavar="USER", help="whose project it is (default: the first superuser)"
        )
        parser.add_argument(
            "--live",
            type=float,
            default=0,
            metavar="RATE",
            help="then go on with so many events a second, until Ctrl-C",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= 366 or not 100 <= options["events"] <= 5_000_000:
            raise CommandError("--days must be 1 to 366, --events 100 to 5000000.")
        begun, client = time.monotonic(), sync_client()
        try:
            check_stack(client)
            project = self._project(options)
            people = self._load(client, project, options)
            self._tell(project, time.monotonic() - begun)
            if options["live"] > 0:
                self._go_on(client, project, people, options)
        except Stalled as stalled:
            raise CommandError(str(stalled)) from stalled
        except redis.RedisError as error:
            raise CommandError(f"The queue does not answer: {error}") from error
        except db.Error as error:
            raise CommandError(
                f"The database does not answer: {' '.join(str(error).split())[:200]}"
            ) from error
        except KeyboardInterrupt:
            self.stdout.write("Stopped; what was accepted stays.")

    def _project(self, options: dict[str, Any]) -> Project:
        """A new one, numbered where there is one of that name, with its tracking plan."""
        users = User.objects.filter(is_active=True)
        if options["owner"]:
            owner = users.filter(username=options["owner"]).first()
        else:
            owner = users.filter(is_superuser=True).order_by("pk").first()
        if owner is None:
            raise CommandError("There is no such user." if options["owner"] else "There is no superuser yet.")
        taken = set(Project.objects.filter(deleted_at=None).values_list("name", flat=True))
        name, number = options["project"], 2
        while name in taken:
            name, number = f"{options['project']} {number}", number + 1
        if name != options["project"]:
            self.stdout.write(f"There is a project {options['project']!r} already; this one is {name!r}.")
        try:
            project, _ = services.create_project(name=name, owner=owner, time_zone=ZONE)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        for event, (mode, schema, note) in PLAN.items():
            plan_change.change(project, event, by=owner.username, mode=mode, schema=schema, note=note)
        return project

    def _load(self, client: redis.Redis, project: Project, options: dict[str, Any]) -> People:
        """Returns who has been there."""
        now, planned = datetime.now(UTC), time.monotonic()
        loader, sorter = Loader(client, project.pk, ring), Sorter(now)
        people = People(Random(options["seed"]))  # noqa: S311  chance comes from a seed on purpose
        month = happenings(people, events=options["events"], days=options["days"], now=now)
        self._send(loader.send(sorter.good(month)), options["events"])
        # What breaks the plan comes last, when whoever stores it is sure to know the plan.
        time.sleep(max(0.0, planned + PLAN_SECONDS - time.monotonic()))
        self._send(loader.send([*sorter.spoiled, *REFUSED]))
        self.stdout.write("Waiting until all of it is stored and in the lake ...")
        lines = wait_until_stored(client, project.pk, now)
        if not wait_until_sealed():
            self.stdout.write("The lake is behind: pages show all of it once it has caught up.")
        sums = {
            name: sum(getattr(line, name) for line in lines)
            for name in ("accepted", "stored", "duplicate", "dead")
        }
        told = ", ".join(f"{count:,} {name}" for name, count in sums.items())
        refused, warned = loader.loaded.refused, loader.loaded.warned
        self.stdout.write(
            f"{told}; {refused} refused at the door, {warned:,} warned of by the tracking plan."
        )
        return people

    def _go_on(self, client: redis.Redis, project: Project, people: People, options: dict[str, Any]) -> None:
        self.stdout.write(f"Going on with about {options['live']:g} events a second; Ctrl-C ends it.")
        self.stdout.flush()
        loader = Loader(client, project.pk, ring)
        live = Live(people, options["live"], options["days"], datetime.now(UTC))
        while True:
            self._send(loader.send(live.due(datetime.now(UTC))))
            time.sleep(LIVE_SECONDS)

    def _send(self, progress: Iterator[int], wanted: int = 0) -> None:
        told_at = time.monotonic()
        for accepted in progress:
            if wanted and time.monotonic() - told_at >= REPORT_SECONDS:
                told_at = time.monotonic()
                self.stdout.write(f"{accepted:,} of about {wanted:,} events accepted")
                self.stdout.flush()

    def _tell(self, project: Project, seconds: float) -> None:
        address = f"{settings.PUBLIC_URL}{reverse('project', args=[project.pk])}"
        self.stdout.write(self.style.SUCCESS(f"{project.name} is ready after {seconds:.0f} s. Open"))
        for page, why in (
            ("overview?period=30d", "the month; errors nine days ago, a slow search since four"),
            ("events", "look for one order"),
            ("failures", "four causes to mend"),
            ("pipeline", "where it went"),
        ):
            self.stdout.write(f"  {address}/{page:<20}  {why}")
