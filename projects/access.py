"""Who sees which project. Deleted ones are seen by nobody."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F, QuerySet

from projects.models import Project


def alive() -> QuerySet[Project]:
    """Returns the projects that are not deleted."""
    return Project.objects.filter(deleted_at__isnull=True)


def projects_of(user: User | AnonymousUser) -> QuerySet[Project]:
    """Returns the projects a person belongs to, each with that person's `role`; staff have no more."""
    if user.pk is None:
        return Project.objects.none()
    # A person belongs to a project once (constraint): the join cannot double a row.
    return alive().filter(memberships__user_id=user.pk).annotate(role=F("memberships__role")).order_by("id")
