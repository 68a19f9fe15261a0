"""The audit log: who did what to dead letters, and whose they were."""

from typing import Any

from django.db.models import Count, Max, Min, QuerySet

from events.models import AuditEntry, DeadLetter


def audit(action: str, *, by: str, project_id: int | None, letters: int, what: dict[str, Any]) -> None:
    """Keeps who did what. In the caller's transaction, so that nothing is done without it."""
    AuditEntry.objects.create(
        action=action, by_name=by[:150], project_id=project_id, letters=letters, what=what
    )


def only_project(letters: QuerySet[DeadLetter]) -> int | None:
    """Returns the project that all these letters are of, so that its people see what others do to them; else None."""
    found = letters.order_by().aggregate(
        least=Min("project_id"), most=Max("project_id"), of_projects=Count("project_id"), all=Count("id")
    )
    is_one = found["least"] == found["most"] and found["of_projects"] == found["all"]
    return found["least"] if is_one else None
