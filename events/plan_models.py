"""What a tracking plan keeps in PostgreSQL. Fields, constraints and indexes only."""

from django.db import models
from django.db.models.functions import Now

from projects.models import Project


class PlanMode(models.TextChoices):
    OFF = "off"
    WARN = "warn", "warn: the receipt says so"
    BURY = "bury", "bury: accepted, then a dead letter"
    REJECT = "reject", "reject at the door"


class PlanVersion(models.Model):
    """What a project's events of one name are to look like, from then on. Rows are only added: the latest is in force."""

    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    name = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    mode = models.CharField(max_length=6, choices=PlanMode.choices)
    schema = models.TextField(help_text="JSON Schema 2020-12 of `properties`, as JSON.")
    changes = models.JSONField(help_text="What differs from the version before, by place in the schema.")
    note = models.CharField(max_length=300, blank=True, db_default="")
    by_name = models.CharField("by", max_length=150)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=["project", "name", "version"], name="planversion_once"),
        )

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


class PlanViolation(models.Model):
    """Events that did not follow the plan, by name and field: how many, and the last few of them."""

    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    name = models.CharField(max_length=200)
    field = models.CharField(
        max_length=200, help_text="A place in the event; `*`: any element, or many fields."
    )
    events = models.BigIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    examples = models.JSONField()
    taken = models.UUIDField(help_text="The last counts that were added: none is added twice.")

    class Meta:
        ordering = ("-last_at",)
        constraints = (
            models.UniqueConstraint(fields=["project", "name", "field"], name="planviolation_once"),
        )
        indexes = (models.Index(fields=["last_at"], name="planviolation_age"),)

    def __str__(self) -> str:
        return f"{self.name}: {self.field}"
