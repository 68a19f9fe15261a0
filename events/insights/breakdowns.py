"""What a question is broken down by: a property, or a text that events have as a column."""

from events.insights.errors import BadQuestion
from events.insights.question import Breakdown, path_of
from events.insights.scan import Scan


def check(asked: Breakdown | None) -> None:
    """Raises BadQuestion."""
    if asked is not None and (asked.property is None) == (asked.field is None):
        raise BadQuestion("breakdown", "Give either `property` or `field`.")


def group(asked: Breakdown, scan: Scan) -> str:
    """SQL of the group that an event of a scan is in."""
    if asked.property is not None:
        return scan.text(path_of(asked.property))
    return scan.dialect.column(str(asked.field))
