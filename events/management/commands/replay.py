"""`manage.py replay`: dead letters sent again from a shell, with progress; Ctrl-C stops it."""

import getpass
import json
import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from events import mending, rehearsal, replay
from events.deadletter import Wanted
from events.models import DeadLetter, Replay, ReplayState
from eventsite.valkey import sync_client
from tasks.pipeline import ring

LOOK_SECONDS = 1.0


class Command(BaseCommand):
    help = "Sends waiting dead letters again: all, or those that match. With --dry, says what would become of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", type=int, metavar="N", help="of this project only")
        parser.add_argument("--code", default="", help="with this code, like data_error")
        parser.add_argument("--fingerprint", default="", help="with this cause")
        parser.add_argument("--name", default="", help="events of this name")
        parser.add_argument(
            "--id", action="append", default=[], type=UUID, metavar="UUID", help="this event; repeatable"
        )
        parser.add_argument(
            "--rule", metavar="JSON", help='mended first: \'{"path": "properties.n", "do": "to_number"}\''
        )
        parser.add_argument("--dry", action="store_true", help="try it and send nothing")
        parser.add_argument(
            "--rate", type=int, metavar="N", help="events a second (default: EVENTS_REPLAY_RATE)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rate"] is not None and not 1 <= options["rate"] <= 10_000:
            raise CommandError("--rate must be from 1 to 10000")
        try:
            rule = mending.read(options["rule"]) if options["rule"] else None
        except mending.BadRule as error:
            raise CommandError(f"--rule: {error}") from None
        wanted = Wanted(
            project_id=options["project"],
            ids=self._letters(options["id"]),
            code=options["code"],
            fingerprint=options["fingerprint"],
            name=options["name"],
        )
        by = f"shell: {getpass.getuser()}"
        if options["dry"]:
            self._rehearse(wanted, rule, by)
            return
        self._follow(replay.start(wanted, by=by, rule=rule, rate=options["rate"]))

    def _letters(self, event_ids: list[UUID]) -> list[int]:
        found = list(DeadLetter.objects.filter(event_id__in=event_ids).values_list("id", flat=True))
        if event_ids and not found:
            raise CommandError("--id: there is no dead letter of that event")
        return found

    def _rehearse(self, wanted: Wanted, rule: mending.Rule | None, by: str) -> None:
        tried = rehearsal.rehearse(wanted, rule, by=by)
        self.stdout.write(f"{tried.would_store} of {tried.examined} would be stored", ending="")
        self.stdout.write(f", {tried.duplicate} are stored already", ending="" if tried.duplicate else "\n")
        for miss in tried.misses:
            self.stdout.write(f"  letter {miss.letter}: {miss.code} {miss.field}: {miss.detail}")

    def _follow(self, started: Replay) -> None:
        client = sync_client()
        self.stdout.write(f"replay {started.pk}: {started.total} letters, {started.rate} a second")
        try:
            while started.state in replay.ACTIVE:
                ran = replay.run(client, started.pk)
                for slot in ran.ring:
                    ring(slot)
                started.refresh_from_db()
                told = ", ".join(
                    f"{n} {name.replace('_', ' ')}" for name, n in replay.progress(started).items() if n
                )
                self.stdout.write(
                    f"  {told or 'nothing sent yet'}{f' ({started.note})' if started.note else ''}"
                )
                if started.state in replay.ACTIVE:
                    time.sleep(LOOK_SECONDS if ran.again_seconds is None else ran.again_seconds)
        except KeyboardInterrupt:
            replay.stop(started, by=started.by_name)
            raise CommandError(
                f"stopped; what was sent arrives: {json.dumps(replay.progress(started))}"
            ) from None
        if started.state == ReplayState.STOPPED:
            raise CommandError("stopped by somebody else")
