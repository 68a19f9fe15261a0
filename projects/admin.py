"""Projects and keys in the admin. What changes a key goes through services.py, so that the mirror follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Count, Prefetch, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from projects import services
from projects.models import ApiKey, Membership, Project, Role

QUOTAS = ["quota_per_second", "quota_burst", "quota_per_day"]  # empty: as the settings say; 0: without limit


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # generic only in its stubs
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class DeletedFilter(admin.SimpleListFilter):
    """Deleted projects are out of sight unless asked for."""

    title = "state"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Deleted, data being removed")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        alive, *others = super().choices(changelist)
        yield {**alive, "display": "Alive"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> QuerySet[Project]:
        return queryset.filter(deleted_at__isnull=self.value() != "yes")


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in its stubs
    list_display = ["name", "owners", "live_keys", "time_zone", "created_at", "deleted_at"]
    list_filter = [DeletedFilter]
    search_fields = ["name"]
    ordering = ["-id"]
    fields = ["name", "time_zone", *QUOTAS, "created_at", "deleted_at"]
    readonly_fields = ["created_at", "deleted_at"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        owners = Membership.objects.filter(role=Role.OWNER).select_related("user")
        projects: QuerySet[Project] = (
            super()
            .get_queryset(request)
            .annotate(live_keys=Count("keys", filter=Q(keys__revoked_at__isnull=True)))
            .prefetch_related(Prefetch("memberships", queryset=owners, to_attr="owner_memberships"))
        )
        return projects

    @admin.display(description="Owners")
    def owners(self, project: Any) -> str:
        return ", ".join(str(membership.user) for membership in project.owner_memberships)

    @admin.display(description="Live keys")
    def live_keys(self, project: Any) -> int:
        return int(project.live_keys)

    def get_inlines(self, request: HttpRequest, obj: Project | None) -> list[Any]:
        return [MembershipInline] if obj else []  # whoever adds a project becomes its owner

    def has_change_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def save_model(self, request: HttpRequest, obj: Project, form: ModelForm[Project], change: bool) -> None:
        quotas = {name: getattr(obj, name) for name in QUOTAS}
        if change:
            services.change_project(obj, name=obj.name, time_zone=obj.time_zone, **quotas)
            return
        created = services.create_project(
            name=obj.name, owner=cast(User, request.user), time_zone=obj.time_zone
        )
        vars(obj).update(vars(created.project))
        services.change_project(obj, **quotas)
        show_once(self, request, f"The write key of {obj}", created.write_key)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Says what really happens: no row goes now, so there is no tree of rows to collect and show."""
        return [f"{project}: its keys stop, its data is removed by and by" for project in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        services.delete_project(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        for project in queryset:
            services.delete_project(project)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in its stubs
    list_display = [
        "__str__",
        "kind",
        "name",
        "project",
        "created_at",
        "created_by",
        "last_used_at",
        "revoked_at",
    ]
    list_filter = ["kind", ("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["project", "created_by"]
    search_fields = ["prefix", "name", "project__name"]
    autocomplete_fields = ["project"]
    actions = ["revoke"]
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        added = ["project", "kind", "name", "allowed_origins"]
        return [*added, "prefix", "created_at", "created_by", "last_used_at", "revoked_at"] if obj else added

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        changeable = ("name", "allowed_origins")
        return [name for name in self.get_fields(request, obj) if name not in changeable] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # a revoked key stays: whose it was can be asked later

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool) -> None:
        if change:
            services.change_key(obj, name=obj.name, allowed_origins=obj.allowed_origins)
            return
        created = services.create_key(
            project=obj.project,
            kind=obj.kind,
            name=obj.name,
            allowed_origins=obj.allowed_origins,
            by=cast(User, request.user),
        )
        vars(obj).update(vars(created.key))
        show_once(self, request, f"The {obj.kind} key of {obj.project}", created.secret)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            services.revoke_key(key)
        self.message_user(request, "Revoked. Processes that know a key refuse it within seconds.")


def show_once(model_admin: admin.ModelAdmin[Any], request: HttpRequest, what: str, secret: str) -> None:
    """Shows a new secret on the next page. Messages travel in a cookie, so it never reaches the database."""
    model_admin.message_user(request, f"{what}, shown this once: {secret}", messages.WARNING)
