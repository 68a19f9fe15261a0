"""`manage.py bootstrap`: repeatable, and the credentials file always works."""

import json
import stat

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from knox.auth import TokenAuthentication

from eventsite import state
from projects.models import ApiKey, Project

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def credentials(settings, tmp_path):
    """Runs bootstrap on a state directory of its own, returns how to read what it wrote."""
    settings.VAR_DIR = state.prepare(tmp_path / "var").var

    def run() -> dict:
        call_command("bootstrap", verbosity=0)
        return json.loads(state.places(settings.VAR_DIR).credentials.read_text())

    return run


def works(known: dict) -> bool:
    from projects import keys

    user, _ = TokenAuthentication().authenticate_credentials(known["api_token"].encode())
    digests = {keys.digest(known[name]) for name in ("write_key", "read_key")}
    alive = ApiKey.objects.filter(project_id=known["project_id"], revoked_at=None, digest__in=digests).count()
    return User.objects.get(username=known["admin_user"]).check_password(known["admin_password"]) and (
        user.username,
        alive,
    ) == ("admin", 2)


def test_the_first_start_makes_what_a_person_needs(credentials, settings):
    known = credentials()
    assert works(known)
    assert stat.S_IMODE(state.places(settings.VAR_DIR).credentials.stat().st_mode) == 0o600


def test_a_second_start_changes_nothing(credentials):
    first = credentials()
    assert credentials() == first
    assert (User.objects.count(), Project.objects.count(), ApiKey.objects.count()) == (1, 1, 2)


def test_addresses_follow_the_settings(credentials, settings):
    first = credentials()
    settings.PUBLIC_URL, settings.FLOWER_PORT = "https://events.example.com", 6000
    moved = credentials()
    assert (moved["url"], moved["flower_url"]) == ("https://events.example.com", "http://127.0.0.1:6000")
    assert moved["write_key"] == first["write_key"]


def test_a_lost_file_is_made_again_for_the_same_project(credentials, settings):
    first = credentials()
    state.places(settings.VAR_DIR).credentials.unlink()
    again = credentials()
    assert works(again)
    assert again["project_id"] == first["project_id"]
    assert again["write_key"] != first["write_key"]


def test_a_half_written_file_is_made_again(credentials, settings):
    credentials()
    state.places(settings.VAR_DIR).credentials.write_text('{"admin_user": "ad')
    assert works(credentials())


def test_new_data_replace_an_old_file(credentials):
    first = credentials()
    User.objects.all().delete()
    Project.objects.all().delete()
    again = credentials()
    assert works(again)
    assert again["admin_password"] != first["admin_password"]
