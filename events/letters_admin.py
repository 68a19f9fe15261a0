"""What the admin's pages on dead letters and on their replays share."""

from typing import Any, ClassVar, Final

from django.db.models import Model
from django.http import HttpRequest

from events.admin_lists import ReadOnlyAdmin

REPLAY: Final = "events.change_deadletter"
DISCARD: Final = "events.delete_deadletter"


class LettersAdmin(ReadOnlyAdmin):
    """A row's page may say more than its fields, and offer what the person may do."""

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["events/deadletters.css"]}

    def more(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of one row needs besides."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        row: Model | None = self.get_object(request, object_id)
        more = self.more(request, row) if row is not None else {}
        return super().change_view(request, object_id, form_url, more | (extra_context or {}))
