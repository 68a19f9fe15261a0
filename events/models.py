"""What the pipeline keeps in PostgreSQL. Fields, constraints and indexes only."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from events.catalogue_models import CatalogueName, CatalogueProject, CatalogueProperty
from events.plan_models import PlanVersion, PlanViolation
from projects.models import Project

# Django looks for models in this module.
__all__ = ("CatalogueName", "CatalogueProject", "CatalogueProperty", "PlanVersion", "PlanViolation")


class Event(models.Model):
    """A stored event. The table is partitioned by day of `received_at` (migration 0002), so Django does not manage it."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    event_id = models.UUIDField("id", help_text="The client's, or uuid5 of what it sent, or ours (uuid7).")
    client_event_id = models.CharField("id as sent", max_length=200, null=True)  # noqa: DJ001  null: the same as event_id
    name = models.CharField(max_length=200)
    user_id = models.CharField(max_length=200, null=True)  # noqa: DJ001
    anonymous_id = models.CharField(max_length=200, null=True)  # noqa: DJ001
    session_id = models.CharField(max_length=200, null=True)  # noqa: DJ001
    occurred_at = models.DateTimeField(help_text="The client's time, its clock corrected by `sent_at`.")
    received_at = models.DateTimeField(help_text="When we accepted it.")
    stored_at = models.DateTimeField(help_text="When its row was written.")
    properties = models.JSONField()
    context = models.JSONField()
    raw = models.BinaryField(
        null=True, help_text="The exact bytes sent, where jsonb cannot hold them faithfully."
    )
    batch = models.ForeignKey("Batch", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")

    class Meta:
        managed = False
        db_table = "events_event"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.name} {self.event_id}"


class Batch(models.Model):
    """One committed store transaction: how an event came here, and what is new for the lake (`seal` null)."""

    slot = models.SmallIntegerField()
    attempts = models.SmallIntegerField()
    stored_at = models.DateTimeField(db_default=Now())
    events = models.IntegerField()
    stored = models.IntegerField()
    duplicate = models.IntegerField()
    dead = models.IntegerField()
    days = ArrayField(models.DateField(), help_text="UTC days of occurred_at that it touched.")
    # Its rows' ids lie between these, among those of concurrent batches: an index range instead of a scan.
    first_id = models.BigIntegerField(
        null=True, help_text="Lowest id of its rows; null where it stored none."
    )
    last_id = models.BigIntegerField(null=True)
    bytes = models.BigIntegerField(db_default=0, help_text="Of its events as they lay in the queue.")
    seal = models.BigIntegerField(
        null=True, help_text="The segment its rows were sealed in; 0 where it had none."
    )

    class Meta:
        verbose_name_plural = "batches"
        indexes = (models.Index("id", condition=models.Q(seal=None), name="batch_unsealed"),)

    def __str__(self) -> str:
        return f"batch {self.pk}"


class Inbox(models.Model):
    """A stream entry that was stored: a second delivery of it is only acked. Pruned behind the stream's oldest entry."""

    pk = models.CompositePrimaryKey("epoch", "ms", "seq")
    epoch = models.UUIDField()
    ms = models.BigIntegerField()
    seq = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.epoch} {self.ms}-{self.seq}"


class LetterState(models.TextChoices):
    WAITING = "waiting"
    REPLAYING = "replaying", "sent again"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class LetterOutcome(models.TextChoices):
    STORED = "stored"
    DUPLICATE = "duplicate"
    BURIED = "buried", "buried again"


class DeadLetter(models.Model):
    """An accepted event that could not be stored, its envelope exactly as it lay in the queue."""

    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    event_id = models.UUIDField("id", null=True)
    name = models.CharField(max_length=200, blank=True)
    payload = models.BinaryField()
    code = models.CharField(max_length=40)
    sqlstate = models.CharField(max_length=5, blank=True)
    field = models.CharField(max_length=200, blank=True)
    error = models.TextField()
    stage = models.CharField(max_length=20)
    attempts = models.SmallIntegerField()
    failures = models.JSONField(
        db_default=models.Value([], models.JSONField()),
        help_text="Every attempt that failed, the earliest first: at, sqlstate, error.",
    )
    received_at = models.DateTimeField()
    first_failed_at = models.DateTimeField(db_default=Now())
    last_failed_at = models.DateTimeField(db_default=Now())
    fingerprint = models.CharField(max_length=16, help_text="The cause, for grouping.")
    state = models.CharField(max_length=9, choices=LetterState.choices, db_default=LetterState.WAITING)
    outcome = models.CharField(
        max_length=9,
        blank=True,
        db_default="",
        choices=LetterOutcome.choices,
        help_text="Where the replay went.",
    )
    note = models.TextField(
        blank=True, db_default="", help_text="Why it was discarded, or why a replay left it alone."
    )
    sent = models.BinaryField(
        null=True, help_text="The envelope that was sent again, where a person or a rule changed it."
    )
    replay = models.ForeignKey(
        "Replay", on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="letters"
    )
    # To the microsecond no other's: by it a row or a later letter of the same event is known as this replay's.
    replayed_at = models.DateTimeField(null=True, help_text="Time of receipt of what was sent again.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True, db_default="")
    successor = models.ForeignKey(
        "self", on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+",
        help_text="The letter of the same event that its replay ended in.",
    )  # fmt: skip

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["project", "-id"], name="deadletter_project"),
            models.Index(fields=["event_id"], name="deadletter_event"),
            # What is done with stays for months; what waits, and what is under way, is found without it.
            models.Index(
                fields=["project", "fingerprint", "id"],
                name="deadletter_waiting",
                condition=models.Q(state="waiting"),
            ),
            models.Index(fields=["id"], name="deadletter_replaying", condition=models.Q(state="replaying")),
            models.Index(fields=["last_failed_at"], name="deadletter_age"),
        )

    def __str__(self) -> str:
        return f"{self.name or 'event'} {self.event_id}: {self.code}"

    @property
    def cause(self) -> str:
        """The error without what PostgreSQL repeats of the row."""
        return self.error.partition(" DETAIL: ")[0]


class ReplayState(models.TextChoices):
    SENDING = "sending"
    SETTLING = "settling"  # all are sent; not all have arrived
    DONE = "done"
    STOPPED = "stopped"


class Replay(models.Model):
    """A run that sends dead letters again, chunk by chunk. What becomes of each stands with the letter."""

    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    by_name = models.CharField("by", max_length=150)
    created_at = models.DateTimeField(db_default=Now())
    filter = models.JSONField(help_text="Which letters.")
    rule = models.JSONField(null=True, help_text="How each is mended first.")
    rate = models.PositiveIntegerField(help_text="Events a second, at most.")
    state = models.CharField(max_length=8, choices=ReplayState.choices, db_default=ReplayState.SENDING)
    note = models.CharField(max_length=300, blank=True, db_default="", help_text="What it waits for.")
    total = models.IntegerField(help_text="Letters that matched when it began.")
    until_id = models.BigIntegerField(
        help_text="The latest letter then: what it buries again is not its own."
    )
    cursor = models.BigIntegerField(db_default=0)
    last_run_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    counts = models.JSONField(null=True, help_text="What became of its letters, when it ended.")

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=["project", "-id"], name="replay_project"),)

    def __str__(self) -> str:
        return f"replay {self.pk}"


class AuditEntry(models.Model):
    """Who did what to how many dead letters, and when."""

    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())
    by_name = models.CharField("by", max_length=150)
    action = models.CharField(max_length=20)
    letters = models.IntegerField(help_text="How many were concerned.")
    what = models.JSONField(help_text="Which, and how: filter, rule, reason.")

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "audit log"
        indexes = (models.Index(fields=["project", "-id"], name="auditentry_project"),)

    def __str__(self) -> str:
        return f"{self.by_name}: {self.action} {self.letters}"


class Segment(models.Model):
    """A Parquet file of the lake. Every sealed event lies in exactly one that is live (`retired_at` null)."""

    path = models.CharField(max_length=200, unique=True, help_text="Below the lake's directory.")
    # A shared one holds rows of all projects: what is fresh, and what is too little for a file of its own.
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    level = models.SmallIntegerField(help_text="How often its rows were merged since they were sealed.")
    first_day = models.DateField(help_text="UTC day of occurred_at.")
    last_day = models.DateField()
    first_at = models.DateTimeField(help_text="Of occurred_at, as the next two.")
    last_at = models.DateTimeField()
    first_received_at = models.DateTimeField()
    rows = models.BigIntegerField()
    project_rows = models.JSONField(null=True, help_text="Of a shared one: rows by project id.")
    bytes = models.BigIntegerField()
    columns = models.JSONField(
        db_default=models.Value({}, models.JSONField()),
        help_text="Properties by name: which columns hold them.",
    )
    is_complete = models.BooleanField(
        db_default=False, help_text="No other property than these occurs in it."
    )
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(
                fields=["project", "first_day"], name="segment_live", condition=models.Q(retired_at=None)
            ),
            models.Index(
                fields=["retired_at"], name="segment_retired", condition=models.Q(retired_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.path


class DrainFailure(models.Model):
    """A drain run that failed for want of infrastructure: its batch waits with its slot, or was stored since."""

    slot = models.SmallIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    attempts = models.SmallIntegerField()
    sqlstate = models.CharField(max_length=5)
    error = models.TextField()
    healed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=["slot", "first_at"], name="drainfailure_once"),)

    def __str__(self) -> str:
        return f"slot {self.slot}: {self.sqlstate}"


class Ledger(models.Model):
    """What became of a project's events, by hour of `received_at`. Accepted is counted by the push, the rest by the store."""

    project = models.ForeignKey(Project, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    hour = models.DateTimeField()
    accepted = models.BigIntegerField(db_default=0)
    stored = models.BigIntegerField(db_default=0)
    duplicate = models.BigIntegerField(db_default=0)
    dead = models.BigIntegerField(db_default=0)
    discarded = models.BigIntegerField(db_default=0, help_text="Taken out of the queue by a person.")
    replayed = models.BigIntegerField(
        db_default=0, help_text="Dead letters sent again; counted as accepted too."
    )
    rejected = models.JSONField(
        db_default=models.Value({}, models.JSONField()),
        help_text="Events refused, by code; the client was told.",
    )
    warned = models.JSONField(
        db_default=models.Value({}, models.JSONField()),
        help_text="Events accepted with a warning of the tracking plan, by code.",
    )
    set_back = models.BigIntegerField(
        db_default=0,
        help_text="By how much the queue's count went backwards: a Valkey that lost its last seconds.",
    )

    class Meta:
        verbose_name_plural = "ledger"
        ordering = ("-hour", "project_id")
        constraints = (models.UniqueConstraint(fields=["project", "hour"], name="ledger_project_hour"),)

    def __str__(self) -> str:
        return f"{self.project_id} {self.hour:%Y-%m-%d %H}h"


class QueueState(models.Model):
    """How far the queue had come when the tick last looked. One row; a queue that is behind it lost its last seconds."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.UUIDField(null=True)
    last_ms = models.BigIntegerField(db_default=0)
    last_seq = models.BigIntegerField(db_default=0)
    copied_at = models.DateTimeField()
    set_back_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="queuestate_one_row"),)

    def __str__(self) -> str:
        return f"{self.epoch} {self.last_ms}-{self.last_seq}"


class Pipeline(QueueState):
    """The pipeline as a whole: what operators look at and order, in the admin."""

    class Meta:
        proxy = True
        verbose_name_plural = "pipeline"

    def __str__(self) -> str:
        return "the pipeline"
