"""The forms of the pages. What they check is what the API checks: the models' validators."""

from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from projects import attempts, origins, timezones
from projects.keys import KeyKind
from projects.models import ApiKey, Project


class SignInForm(AuthenticationForm):
    """Django's, with a bound on failures by address and name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name"
        self.fields["username"].widget.attrs |= {"autofocus": True, "autocomplete": "username"}

    def clean(self) -> dict[str, Any]:
        who = (self._address(), str(self.cleaned_data.get("username") or ""))
        if wait := attempts.standing(*who).wait_seconds:
            minutes = -(-wait // 60)
            unit = "minute" if minutes == 1 else "minutes"
            raise ValidationError(
                f"Too many attempts. Try again in {minutes} {unit}.", code="too_many_attempts"
            )
        try:
            cleaned = super().clean()
        except ValidationError:
            attempts.failed(*who)
            raise ValidationError("Wrong user name or password.", code="invalid_login") from None
        attempts.succeeded(*who)
        return cleaned

    def _address(self) -> str:
        return str(self.request.META.get("REMOTE_ADDR", "")) if self.request else ""


def zone_choices() -> list[tuple[str, str]]:
    names = sorted(timezones.names())
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names if name != "UTC")]


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    time_zone = forms.ChoiceField(
        choices=zone_choices,
        initial="UTC",
        help_text="Days and hours are shown in it; change it at any time.",
    )

    class Meta:
        model = Project
        fields = ("name", "time_zone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs |= {"placeholder": "Web shop", "autocomplete": "off"}
        if not self.instance.pk:
            self.fields["time_zone"].widget.attrs["data-own-zone"] = ""


class KeyForm(forms.Form):
    kind = forms.ChoiceField(
        choices=[
            (KeyKind.WRITE.value, "Write: sends events"),
            (KeyKind.READ.value, "Read: reads this project by the API"),
        ]
    )
    name = forms.CharField(max_length=100, required=False, help_text="Where it is used.")
    allowed_origins = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "https://shop.example.com"}),
        help_text="For a key in web pages: the origins whose pages may use it, one a line. Empty: any.",
    )

    def clean_allowed_origins(self) -> list[str]:
        return read_origins(self.cleaned_data["allowed_origins"])


class ChangeKeyForm(KeyForm):
    kind = None  # type: ignore[assignment]  # Django's way to drop a field


def read_origins(text: str) -> list[str]:
    """Takes a line each, returns them as browsers send them. Raises ValidationError, as the model does."""
    named = origins.tidy(line for line in text.replace(",", "\n").splitlines() if line.strip())
    field = cast(Any, ApiKey._meta.get_field("allowed_origins"))
    return cast(list[str], field.clean(named, None)) if named else []
