"""What templates of the pipeline show of times that are epoch seconds."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django import template
from django.template.context import Context

register = template.Library()


@register.simple_tag(takes_context=True)
def clock(context: Context, epoch_seconds: str) -> str:
    """The time of day in the project's zone."""
    project = context.get("project")
    moment = datetime.fromtimestamp(int(epoch_seconds), UTC)
    return f"{moment.astimezone(ZoneInfo(project.time_zone if project else 'UTC')):%H:%M:%S}"
