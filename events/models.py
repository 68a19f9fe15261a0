"""What the pipeline keeps in PostgreSQL. Fields, constraints and indexes only."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from projects.models import Project


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
    seal = models.BigIntegerField(null=True)

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
    received_at = models.DateTimeField()
    first_failed_at = models.DateTimeField(db_default=Now())
    last_failed_at = models.DateTimeField(db_default=Now())
    fingerprint = models.CharField(max_length=16, help_text="The cause, for grouping.")

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["project", "-id"], name="deadletter_project"),
            models.Index(fields=["event_id"], name="deadletter_event"),
        )

    def __str__(self) -> str:
        return f"{self.name or 'event'} {self.event_id}: {self.code}"


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
