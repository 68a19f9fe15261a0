"""Every kind of question, by name: `/api/projects/{id}/insights/{kind}/`. A new one is a module with a KIND, and a line here."""

from typing import Final

from events.insights import (
    funnel,
    listing,
    paths,
    people,
    performance,
    retention,
    sessions,
    sqlkind,
    timeline,
    trends,
)
from events.insights.kind import Kind

_KINDS: Final[tuple[Kind, ...]] = (
    trends.KIND,
    funnel.KIND,
    retention.KIND,
    performance.KIND,
    sessions.KIND,
    paths.KIND,
    people.KIND,
    timeline.KIND,
    listing.KIND,
    sqlkind.KIND,
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _KINDS}
