"""What templates/base.html asks of the pipeline, so that eventsite/pages.py need not know it."""

from django import template

from events.views import glance

register = template.Library()

register.simple_tag(glance.verdict, name="ledger_verdict")
register.simple_tag(glance.failures_waiting, name="failures_waiting")
