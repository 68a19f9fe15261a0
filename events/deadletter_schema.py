"""The JSON of dead letters, of their groups, replays and verdicts."""

from typing import Any

from rest_framework import serializers

from events.deadletter import LISTS
from events.models import AuditEntry, DeadLetter, Replay
from events.replay import progress


class AttemptSerializer(serializers.Serializer[Any]):
    attempt = serializers.IntegerField(help_text="1, 2, 3; of very many not all are kept.")
    at = serializers.DateTimeField()
    sqlstate = serializers.CharField(help_text="Empty where it was not the database.")
    error = serializers.CharField()
    plan_version = serializers.IntegerField(
        required=False, help_text="Of the tracking plan that it did not follow; only there."
    )


class FailureSerializer(serializers.ModelSerializer[DeadLetter]):
    failures = AttemptSerializer(
        many=True, read_only=True, help_text="Every attempt that failed, the earliest first."
    )

    class Meta:
        model = DeadLetter
        fields = (
            "id", "event_id", "name", "code", "sqlstate", "field", "error", "stage", "attempts", "failures",
            "received_at",
            "first_failed_at", "last_failed_at", "fingerprint", "state", "outcome", "note", "replay", "replayed_at",
            "ended_at", "ended_by", "successor",
        )  # fmt: skip


class FailurePageSerializer(serializers.Serializer[Any]):
    next = serializers.CharField(allow_null=True, help_text="The page of older letters.")
    results = FailureSerializer(many=True)


class FailureDetailSerializer(FailureSerializer):
    event = serializers.DictField(allow_null=True, help_text="As its sender would write it.")
    event_text = serializers.CharField(help_text="The same as text, to be edited.")
    sent_text = serializers.CharField(allow_null=True, help_text="What was sent again, where it was changed.")
    payload_base64 = serializers.CharField(help_text="The envelope exactly as it lay in the queue.")
    offending = serializers.ListField(
        child=serializers.CharField(), help_text="Paths that the error is about."
    )
    curl = serializers.CharField(allow_null=True, help_text="Sends it again, with a write key in $KEY.")
    story = FailureSerializer(many=True, help_text="Every failure of this event, the earliest first.")

    class Meta(FailureSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *FailureSerializer.Meta.fields, "event", "event_text", "sent_text", "payload_base64", "offending", "curl",
            "story",
        )  # fmt: skip


class GroupSerializer(serializers.Serializer[Any]):
    fingerprint = serializers.CharField()
    code = serializers.CharField()
    sqlstate = serializers.CharField()
    field = serializers.CharField()
    letters = serializers.IntegerField()
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    example = serializers.IntegerField(help_text="The latest letter.")
    error = serializers.CharField(help_text="Its error.")


class GroupsSerializer(serializers.Serializer[Any]):
    groups = GroupSerializer(many=True)
    is_partial = serializers.BooleanField(help_text="Only the latest letters were looked at.")


class WarningSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField(allow_null=True)
    detail = serializers.CharField()


class VerdictSerializer(serializers.Serializer[Any]):
    outcome = serializers.CharField(
        help_text="stored, duplicate, refused (not even accepted) or dead (not storable)."
    )
    would_store = serializers.BooleanField()
    code = serializers.CharField()
    field = serializers.CharField()
    detail = serializers.CharField()
    sqlstate = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)
    warnings = WarningSerializer(many=True)


class MissSerializer(serializers.Serializer[Any]):
    letter = serializers.IntegerField()
    outcome = serializers.CharField()
    code = serializers.CharField()
    field = serializers.CharField()
    detail = serializers.CharField()


class RehearsalSerializer(serializers.Serializer[Any]):
    matching = serializers.IntegerField(help_text="Waiting letters that match.")
    examined = serializers.IntegerField(help_text="So many of them were tried.")
    would_store = serializers.IntegerField()
    duplicate = serializers.IntegerField(help_text="Stored already.")
    misses = MissSerializer(many=True, help_text="Examples of those that would not be stored.")


class ReplaySerializer(serializers.ModelSerializer[Replay]):
    state = serializers.CharField(help_text="sending, settling (all sent, not all arrived), done or stopped.")
    progress = serializers.SerializerMethodField()

    class Meta:
        model = Replay
        fields = (
            "id", "state", "note", "by_name", "created_at", "ended_at", "filter", "rule", "rate", "total", "progress",
        )  # fmt: skip

    def get_progress(self, replay: Replay) -> dict[str, int]:
        return progress(replay)

    def to_representation(self, instance: Replay) -> dict[str, Any]:
        """Of a replay over several projects, a project is told what concerns its own letters."""
        told: dict[str, Any] = super().to_representation(instance)
        asking: int | None = self.context.get("project_id")
        if instance.project_id is None and asking is not None:
            own = progress(instance, project_id=asking)
            told |= {
                "progress": own,
                "total": DeadLetter.objects.filter(replay_id=instance.pk, project_id=asking).count(),
            }
            told["filter"] = {name: value for name, value in instance.filter.items() if name not in LISTS}
        return told


class ReplayPageSerializer(serializers.Serializer[Any]):
    results = ReplaySerializer(many=True)


class DiscardedSerializer(serializers.Serializer[Any]):
    discarded = serializers.IntegerField()


class AuditSerializer(serializers.ModelSerializer[AuditEntry]):
    class Meta:
        model = AuditEntry
        fields = ("id", "at", "by_name", "action", "letters", "what")


class AuditPageSerializer(serializers.Serializer[Any]):
    results = AuditSerializer(many=True)
