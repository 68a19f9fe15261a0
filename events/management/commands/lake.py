"""`manage.py lake`: how the lake stands; compare it with the table, mend it, remove a person from it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import duckdb
from django.core.management.base import BaseCommand, CommandError, CommandParser

from events.lake import erase, rebuild, standing, verify
from events.lake.layout import lake_dir
from events.lake.verify import Verified


class Command(BaseCommand):
    help = (
        "Shows how the lake stands; compares it with the table, writes it anew from there, erases a person."
    )
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        orders = parser.add_subparsers(dest="order", required=True)
        orders.add_parser("status", help="lag, files, rows and bytes, by project")
        verifying = orders.add_parser(
            "verify", help="compare count and checksum of every project and day; 1 if any differs"
        )
        rebuilding = orders.add_parser("rebuild", help="write anew, from the table, what differs")
        for one in (verifying, rebuilding):
            one.add_argument("--project", type=int, metavar="ID", help="only this project")
            one.add_argument(
                "--day", type=_day, metavar="YYYY-MM-DD", help="only this UTC day of occurred_at"
            )
        rebuilding.add_argument("--all", action="store_true", help="what does not differ, too")
        erasing = orders.add_parser(
            "erase", help="remove a person's events from table and lake, and prove it"
        )
        erasing.add_argument("--project", type=int, required=True, metavar="ID")
        erasing.add_argument("--person", required=True, metavar="ID", help="user id or anonymous id")
        for one in (rebuilding, erasing):
            one.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        orders: dict[str, Callable[[dict[str, Any]], None]] = {
            "status": self._status, "verify": self._verify, "rebuild": self._rebuild, "erase": self._erase,
        }  # fmt: skip
        try:
            orders[options["order"]](options)
        except (duckdb.Error, OSError) as error:
            what = " ".join(str(error).split())[:300]
            raise CommandError(
                f"A file cannot be read or written: {what}. See manage.py lake verify."
            ) from error

    def _status(self, options: dict[str, Any]) -> None:
        now = standing.standing()
        self.stdout.write(f"lag      {now.lag.total_seconds():.1f} s, {now.unsealed:,} events are not sealed")
        self.stdout.write(f"files    {now.shared} shared, {now.own} of one project, {now.retired} retired")
        self.stdout.write(f"size     {now.rows:,} rows, {now.bytes / 1e6:,.1f} MB in {lake_dir()}")
        for one in now.projects:
            self.stdout.write(
                f"project  {one.project_id}: {one.rows:,} rows, of these {one.own_rows:,} in {one.own}"
                f" files of its own ({one.own_bytes / 1e6:,.1f} MB); {one.first_day} to {one.last_day}"
            )

    def _verify(self, options: dict[str, Any]) -> None:
        verified = self._compare(options)
        if not verified.is_equal:
            raise CommandError(
                f"{len(verified.different)} days and {len(verified.broken)} files are not as they should be."
                " See manage.py lake rebuild."
            )
        self.stdout.write("The lake equals the table.")

    def _rebuild(self, options: dict[str, Any]) -> None:
        verified = self._compare(options)
        gone = [broken for broken in verified.broken if not broken.is_readable]
        if gone and not options["yes"]:
            self._agree(
                f"{len(gone)} files cannot be read. Their rows come back from the table as far as it holds them"
                f" (received since {verified.scope.received_since:%Y-%m-%d}); older ones are lost. Are the files"
                " really gone, and not only out of reach?"
            )
        rebuilt = rebuild.rebuild(
            verified, project_id=options["project"], day=options["day"], everything=options["all"]
        )
        self.stdout.write(f"{rebuilt.rows:,} rows of {rebuilt.days} days were written anew from the table.")
        for project_id, rows in sorted(rebuilt.lost.items()):
            self.stdout.write(
                f"project {project_id}: {rows:,} rows are lost, for the table no longer holds them"
            )

    def _erase(self, options: dict[str, Any]) -> None:
        project_id, person = options["project"], options["person"]
        if not options["yes"]:
            self._agree(f"Every event of {person!r} in project {project_id} will be deleted for good.")
        erased = erase.erase_person(project_id, person)
        self.stdout.write(
            f"{erased.rows:,} rows left the table, {erased.lake_rows:,} the lake;"
            f" {erased.files} files were written anew, {erased.deleted} deleted."
        )
        self.stdout.write(f"Proof: {erased.proof.files} files were read, {erased.proof.rows} rows found.")
        if erased.proof.rows:
            raise CommandError("Rows of this person are left: call again, and see manage.py lake verify.")

    def _compare(self, options: dict[str, Any]) -> Verified:
        try:
            verified = verify.verify(
                project_id=options["project"], day=options["day"], keep_equal=options.get("all", False)
            )
        except verify.LakeChanged as error:
            raise CommandError(f"{error}. Try again.") from error
        for broken in verified.broken:
            self.stdout.write(f"file     {broken}")
        for one in verified.different:
            same = " with other contents" if one.table_rows == one.lake_rows else ""
            self.stdout.write(
                f"day      project {one.project_id}, {one.day}: {one.table_rows:,} rows in the table,"
                f" {one.lake_rows:,} in the lake{same}"
            )
        self.stdout.write(
            f"Compared {verified.rows:,} sealed rows of {verified.days} days (of a project),"
            f" received since {verified.scope.received_since:%Y-%m-%d}, with {verified.files} files."
        )
        return verified

    def _agree(self, what: str) -> None:
        self.stdout.write(what)
        try:
            agreed = input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
        except EOFError:
            agreed = False
        if not agreed:
            raise CommandError("Nothing was changed.")


def _day(text: str) -> date:
    return date.fromisoformat(text)
