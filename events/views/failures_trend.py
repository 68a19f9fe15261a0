"""How often each cause failed, hour by hour of the last day."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.db.models import Count
from django.db.models.functions import TruncHour
from django.utils import timezone

from events.deadletter import GROUPED, Wanted

HOURS: Final = 24


def trends(wanted: Wanted, fingerprints: Sequence[str]) -> dict[str, list[int]]:
    """Takes causes, returns for each the letters of every hour, the earliest first.

    Plan: the latest letters of the project by their index, as the groups; of 100,000 that is 80 ms.
    """
    if not fingerprints:
        return {}
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    first = this_hour - timedelta(hours=HOURS - 1)
    rows = wanted.rows()
    cutoff = list(rows.order_by("-id").values_list("id", flat=True)[GROUPED - 1 : GROUPED])
    rows = rows.filter(id__gte=cutoff[0]) if cutoff else rows
    counts = (
        rows.filter(last_failed_at__gte=first, fingerprint__in=fingerprints)
        .order_by()
        .annotate(hour=TruncHour("last_failed_at"))
        .values_list("fingerprint", "hour")
        .annotate(letters=Count("id"))
    )
    found = {fingerprint: [0] * HOURS for fingerprint in fingerprints}
    for fingerprint, hour, letters in counts:
        place = int((hour - first).total_seconds()) // 3_600
        if 0 <= place < HOURS:
            found[fingerprint][place] = letters
    return found
