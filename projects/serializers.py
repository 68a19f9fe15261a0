"""The JSON of projects and keys, in both directions."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from projects.models import ApiKey, Project, Role
from projects.quotas import Quota, quota_of


class StrictFields(serializers.Serializer[Any]):
    """Refuses by name what it does not know and what cannot be set: nothing sent is dropped in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            settable = {name for name, field in self.fields.items() if not field.read_only}
            if errors := {
                name: ["This field cannot be set." if name in self.fields else "Unknown field."]
                for name in data
                if name not in settable
            }:
                raise serializers.ValidationError(errors)
        return super().to_internal_value(data)


class QuotaSerializer(serializers.Serializer[Quota]):
    """What the project may send; 0: without limit."""

    per_second = serializers.IntegerField(help_text="Events a second, on average.")
    burst = serializers.IntegerField(source="at_once", help_text="Events at once.")
    per_day = serializers.IntegerField(help_text="Events a UTC day.")


class ProjectSerializer(StrictFields, serializers.ModelSerializer[Project]):
    role = serializers.ChoiceField(choices=Role.choices, read_only=True, help_text="Yours in this project.")
    quota = serializers.SerializerMethodField(help_text="Set by the site's administrators.")

    class Meta:
        model = Project
        fields: tuple[str, ...] = ("id", "name", "time_zone", "created_at", "role", "quota")

    @extend_schema_field(QuotaSerializer)
    def get_quota(self, project: Project) -> dict[str, int]:
        return dict(QuotaSerializer(quota_of(project)).data)


class CreatedProjectSerializer(ProjectSerializer):
    write_key = serializers.CharField(
        read_only=True, help_text="The first write key: shown here and never again."
    )

    class Meta(ProjectSerializer.Meta):
        fields: tuple[str, ...] = (*ProjectSerializer.Meta.fields, "write_key")


class KeySerializer(StrictFields, serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id", "kind", "name", "allowed_origins", "prefix", "created_at", "last_used_at", "revoked_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = ("prefix", "last_used_at", "revoked_at")


class ChangeKeySerializer(KeySerializer):
    class Meta(KeySerializer.Meta):
        read_only_fields: tuple[str, ...] = (*KeySerializer.Meta.read_only_fields, "kind")


class CreatedKeySerializer(KeySerializer):
    secret = serializers.CharField(read_only=True, help_text="The key itself: shown here and never again.")

    class Meta(KeySerializer.Meta):
        fields: tuple[str, ...] = (*KeySerializer.Meta.fields, "secret")


class LoginSerializer(StrictFields):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(
        max_length=1_000, trim_whitespace=False, style={"input_type": "password"}
    )


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Shown here and never again.")
    expiry = serializers.DateTimeField()
