"""What the admin asks about dead letters: which of them, and what to do."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from events import mending
from events.deadletter import Wanted
from events.models import LetterState


class LetterStateFilter(admin.SimpleListFilter):
    """Those that wait are what there is to do: they are shown unless others are asked for."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("all", "All"),
            *((state.value, str(state.label)) for state in LetterState if state != "waiting"),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        waiting, *others = super().choices(changelist)
        yield {**waiting, "display": "waiting"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        # A cause or an id that is asked for is shown whatever became of it.
        if self.value() is None and ("q" in request.GET):
            return queryset
        return queryset.filter(state=self.value() or LetterState.WAITING)


class ActForm(forms.Form):
    """Which letters (hidden), and what to do."""

    ids = forms.CharField(required=False, widget=forms.HiddenInput)
    project_id = forms.IntegerField(required=False, widget=forms.HiddenInput)
    fingerprint = forms.CharField(required=False, max_length=16, widget=forms.HiddenInput)
    code = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)
    name = forms.CharField(required=False, max_length=200, strip=False, widget=forms.HiddenInput)
    rule = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 4, "cols": 80, "spellcheck": "false"})
    )
    rate = forms.IntegerField(required=False, min_value=1, max_value=10_000, label="Events a second")
    reason = forms.CharField(required=False, max_length=1_000, widget=forms.TextInput(attrs={"size": 80}))

    def clean_ids(self) -> list[int]:
        ids = [part for part in str(self.cleaned_data["ids"]).split(",") if part]
        if not all(part.isdecimal() and int(part) < 2**63 for part in ids) or len(ids) > 1_000:
            raise forms.ValidationError("These are no letters.")
        return [int(part) for part in ids]

    def clean_rule(self) -> mending.Rule | None:
        try:
            return mending.read(self.cleaned_data["rule"]) if self.cleaned_data["rule"].strip() else None
        except mending.BadRule as error:
            raise forms.ValidationError(str(error)) from None

    def wanted(self) -> Wanted:
        """An empty selection is all that wait: the page says so, with their number."""
        fields = self.cleaned_data
        names = ("project_id", "fingerprint", "code", "name")
        return Wanted(
            state=LetterState.WAITING,
            ids=fields["ids"],
            **{name: fields[name] for name in names if fields[name]},
        )
