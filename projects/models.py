"""Who may send events where: projects, their members, their keys."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from projects.keys import KeyKind
from projects.origins import MAX_CHARACTERS, MAX_ORIGINS, validate_origin
from projects.timezones import validate_time_zone

DIGEST_CHARACTERS = 64
PREFIX_CHARACTERS = 16


class Project(models.Model):
    """A deleted project stays as a hidden row until its data is gone: then `services.purge` ends it."""

    name = models.CharField(max_length=100)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    # Null: as the settings say. 0: without limit.
    quota_per_second = models.PositiveIntegerField(
        null=True, blank=True, help_text="Events a second, on average."
    )
    quota_burst = models.PositiveIntegerField(null=True, blank=True, help_text="Events at once.")
    quota_per_day = models.PositiveIntegerField(null=True, blank=True, help_text="Events a UTC day.")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(condition=Q(name__regex=r"\S"), name="project_name_not_blank"),
            models.CheckConstraint(condition=Q(time_zone__regex=r"\S"), name="project_time_zone_not_blank"),
        )
        indexes = (
            models.Index(fields=["id"], condition=Q(deleted_at__isnull=False), name="project_deleted"),
        )

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner"
    MEMBER = "member"


class Membership(models.Model):
    """A person's place in a project: an owner changes it, a member reads it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=6, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=["project", "user"], name="membership_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role"),
        )

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(models.Model):
    """A key of a project. The secret is nowhere: `digest` finds it, `prefix` is what people may see of it."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="keys", limit_choices_to={"deleted_at__isnull": True}
    )
    kind = models.CharField(max_length=5, choices=[(kind.value, kind.value) for kind in KeyKind])
    name = models.CharField(max_length=100, blank=True, default="")
    digest = models.CharField(max_length=DIGEST_CHARACTERS, unique=True, editable=False)
    prefix = models.CharField(max_length=PREFIX_CHARACTERS, editable=False)
    allowed_origins = ArrayField(
        models.CharField(max_length=MAX_CHARACTERS, validators=[validate_origin]),
        size=MAX_ORIGINS,
        default=list,
        blank=True,
        help_text="Origins whose pages may send with this key, like https://shop.example.com. Empty: any.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # To about a minute (projects/used.py); null: never.
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("id",)
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in KeyKind]), name="apikey_kind"
            ),
            models.CheckConstraint(
                condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="apikey_digest_is_sha256"
            ),
            models.CheckConstraint(condition=Q(prefix__regex=r"^es_[wr]_"), name="apikey_prefix"),
        )

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def revoked(self) -> bool:
        return self.revoked_at is not None
