"""`manage.py pipeline`: how the pipeline stands; pause, resume and purge it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from django import db
from django.core.management.base import BaseCommand, CommandError, CommandParser

from events import buffer, operate, purge
from eventsite.valkey import sync_client
from tasks.pipeline import ring


class Command(BaseCommand):
    help = "Shows how the pipeline stands; pauses, resumes or purges it."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        orders = parser.add_subparsers(dest="order", required=True)
        orders.add_parser("status", help="depth, rate, slots, pause, alarms, ledger")
        pause = orders.add_parser("pause", help="drain nothing; events are accepted up to the bound")
        pause.add_argument("reason", help="why, for whoever finds it paused")
        resume = orders.add_parser("resume", help="drain again")
        resume.add_argument(
            "--bury", action="store_true", help="for ten minutes bury whatever fails, however much"
        )
        purging = orders.add_parser("purge", help="take events out of the queue, into a file")
        purging.add_argument(
            "--to", type=Path, required=True, metavar="FILE", help="a new file, one event a line"
        )
        purging.add_argument("--project", type=int, metavar="ID", help="only this project's events")
        purging.add_argument("--yes", action="store_true", help="do not ask")
        purging.add_argument(
            "--force", action="store_true", help="without the database; the ledger will not balance"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        orders: dict[str, Callable[..., None]] = {
            "status": self._status, "pause": self._pause, "resume": self._resume, "purge": self._purge,
        }  # fmt: skip
        try:
            orders[options["order"]](sync_client(), options)
        except redis.RedisError as error:
            raise CommandError(f"The queue does not answer: {error}") from error

    def _status(self, client: redis.Redis, options: dict[str, Any]) -> None:
        standing = buffer.standing(client)
        for name, text in operate.told(standing):
            self.stdout.write(f"{name:<10} {text}")
        for failure in operate.failures(client):
            self.stdout.write(
                f"{'failure':<10} slot {failure.slot}, {failure.attempts} attempts, {failure.sqlstate}: {failure.error}"
            )
        for name, text in standing.alarms.items():
            self.stdout.write(f"{'alarm':<10} {name}: {text}")
        try:
            hours = operate.hours(client, back=3)
        except db.Error as error:
            self.stdout.write(
                f"{'ledger':<10} the database does not answer: {' '.join(str(error).split())[:200]}"
            )
            return
        for hour in hours:
            self.stdout.write(f"{'ledger':<10} {hour.hour:%Y-%m-%d %H}h  {hour.in_words}")

    def _pause(self, client: redis.Redis, options: dict[str, Any]) -> None:
        buffer.pause(client, options["reason"])
        self.stdout.write("Paused. Batches under way are finished; events are accepted up to the bound.")

    def _resume(self, client: redis.Redis, options: dict[str, Any]) -> None:
        was_paused = buffer.resume(client, bury=options["bury"])
        for slot in operate.slots():
            ring(slot)
        self.stdout.write("Resumed." if was_paused else "It was not paused.")

    def _purge(self, client: redis.Redis, options: dict[str, Any]) -> None:
        if not options["yes"] and not self._agreed(client, options):
            raise CommandError("Nothing was deleted.")
        try:
            purged = purge.purge(
                client, to=options["to"], project_id=options["project"], force=options["force"]
            )
        except purge.PurgeRefused as refused:
            raise CommandError(f"{refused} (--force goes on without the database)") from refused
        self.stdout.write(f"{purged.events:,} events are in {purged.path} and no longer in the queue.")
        if purged.stored_already:
            self.stdout.write(f"{purged.stored_already:,} further ones had been stored already.")
        if not purged.counted:
            self.stdout.write(f"The ledger does not know of it: it will be off by {purged.events:+,}.")
        if (reason := buffer.paused(client)) is not None:
            self.stdout.write(f"Draining stays paused: {reason}")

    def _agreed(self, client: redis.Redis, options: dict[str, Any]) -> bool:
        of = f"project {options['project']}" if options["project"] is not None else "all projects"
        self.stdout.write(
            f"{buffer.depth(client).events:,} events are in the queue. Those of {of} will be taken out,"
        )
        self.stdout.write(f"written to {options['to']} and never be stored unless somebody sends them again.")
        try:
            return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
        except EOFError:
            return False
