import io
import logging

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction

from projects import keys, services
from projects.models import ApiKey, Membership, Project, Role


def test_a_new_project_has_its_owner_and_a_write_key(make_user):
    ada = make_user()
    project, write_key = services.create_project(name="  Web shop ", owner=ada, time_zone="Europe/Berlin")
    assert (project.name, project.time_zone) == ("Web shop", "Europe/Berlin")
    assert project.memberships.get().role == Role.OWNER
    assert project.keys.get().digest == keys.digest(write_key)


@pytest.mark.parametrize("name", ["", "   ", "\u2003", "x" * 101])
def test_a_bad_name_founds_no_project(make_user, name):
    with pytest.raises(ValidationError):
        services.create_project(name=name, owner=make_user())
    assert not Project.objects.exists()


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "localtime", "europe/berlin\x00"])
def test_a_bad_time_zone_founds_no_project(make_user, zone):
    with pytest.raises(ValidationError):
        services.create_project(name="Web shop", owner=make_user(), time_zone=zone)


def test_a_secret_is_nowhere_in_the_database(make_project, make_key):
    project, write_key = make_project()
    _, read_key = make_key(project, "read")
    dump = io.StringIO()
    call_command("dumpdata", "projects", "auth", "admin", "sessions", stdout=dump)
    body = write_key.removeprefix(keys.shown(write_key))
    assert keys.digest(read_key) in dump.getvalue()
    assert write_key not in dump.getvalue()
    assert body not in dump.getvalue()


def test_results_do_not_tell_their_secret_when_printed(make_project, make_key):
    created = make_project()
    key = make_key(created.project)
    assert created.write_key not in f"{created!r} {created} {list(created.project.keys.all())!r}"
    assert key.secret not in f"{key!r} {key}"


def test_nothing_is_logged_of_a_secret(make_project, caplog):
    caplog.set_level(logging.DEBUG)
    _, write_key = make_project()
    assert keys.shown(write_key) not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("projects")
    )


def test_revoking_twice_keeps_the_first_time(make_project):
    key = make_project().project.keys.get()
    services.revoke_key(key)
    first = key.revoked_at
    services.revoke_key(key)
    assert first is not None
    assert key.revoked_at == first


def test_a_deleted_project_has_no_living_key_and_gets_none(make_project, make_key):
    project, _ = make_project()
    make_key(project, "read")
    services.delete_project(project)
    assert not project.keys.filter(revoked_at__isnull=True).exists()
    with pytest.raises(Project.DoesNotExist):
        make_key(project)


def test_deleting_twice_keeps_the_first_time(make_project):
    project, _ = make_project()
    services.delete_project(project)
    first = Project.objects.get().deleted_at
    services.delete_project(project)
    assert Project.objects.get().deleted_at == first


def test_a_change_does_not_raise_a_project_deleted_meanwhile(make_project):
    project, _ = make_project()
    services.delete_project(Project.objects.get())
    services.change_project(project, name="Late")
    assert Project.objects.get().deleted_at is not None


def test_purge_removes_a_deleted_project_and_all_its_rows(make_project):
    project, _ = make_project()
    other = make_project(name="Other").project
    services.delete_project(project)
    assert services.purgeable() == [project.pk]
    assert services.purge(project.pk) is True
    assert list(Project.objects.all()) == [other]
    assert set(ApiKey.objects.values_list("project_id", flat=True)) == {other.pk}
    assert services.purge(project.pk) is False


def test_a_living_project_is_never_purged(make_project):
    project, _ = make_project()
    assert services.purgeable() == []
    assert services.purge(project.pk) is False
    assert Project.objects.filter(pk=project.pk).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda project: Project.objects.filter(pk=project.pk).update(name="  "),
        lambda project: Membership.objects.create(project=project, user=project.memberships.get().user),
        lambda project: Membership.objects.update(role="god"),
        lambda project: ApiKey.objects.update(kind="both"),
        lambda project: ApiKey.objects.update(digest="es_w_secret"),
        lambda project: ApiKey.objects.update(prefix="secret"),
    ],
    ids=[
        "blank name",
        "member twice",
        "unknown role",
        "unknown kind",
        "digest is no digest",
        "foreign prefix",
    ],
)
def test_the_database_itself_refuses(make_project, change):
    project, _ = make_project()
    with pytest.raises(IntegrityError), transaction.atomic():
        change(project)
