"""The mirror of keys: written at commit, healed by the tick."""

import msgspec
import pytest
import redis
from django.db import transaction

from projects import keyring, keys
from projects.keyring import MIRROR, VERSION, Grant, read_entry
from projects.keys import KeyKind
from projects.models import ApiKey
from projects.services import create_key, delete_project, purge, revoke_key

pytestmark = pytest.mark.django_db(transaction=True)


def entry(valkey, secret):
    value = valkey.hget(MIRROR, keys.digest(secret))
    return None if value is None else read_entry(value)


def test_a_new_key_is_in_the_mirror_at_once(valkey, make_project):
    project, write_key = make_project()
    assert entry(valkey, write_key) == Grant(project.pk, KeyKind.WRITE, project.keys.get().pk, False)


def test_the_entry_has_the_agreed_form(valkey, make_project, make_key):
    project, _ = make_project()
    key, secret = make_key(project, "read")
    expected = b'{"p":%d,"k":"r","id":%d,"rev":false}' % (project.pk, key.pk)
    assert valkey.hget(MIRROR, keys.digest(secret)) == expected


def test_a_change_that_is_rolled_back_is_not_in_the_mirror(valkey, make_project):
    project, _ = make_project()
    with transaction.atomic():
        _, secret = create_key(project=project, kind="write")
        transaction.set_rollback(True)
    assert entry(valkey, secret) is None


def test_a_revoked_key_stays_marked(valkey, make_project):
    project, write_key = make_project()
    revoke_key(project.keys.get())
    assert entry(valkey, write_key).revoked


def test_a_deleted_projects_keys_are_marked_and_leave_with_the_purge(valkey, make_project):
    project, write_key = make_project()
    delete_project(project)
    assert entry(valkey, write_key).revoked
    purge(project.pk)
    assert entry(valkey, write_key) is None


def test_rebuild_after_flushall_brings_every_key_back(valkey, make_project):
    secrets = [make_project(name=f"Project {number}").write_key for number in range(3)]
    valkey.flushall()
    assert keyring.rebuild(valkey) == 3
    assert all(entry(valkey, secret) for secret in secrets)


def test_rebuild_with_nothing_changed_is_three_cheap_questions(
    valkey, make_project, django_assert_num_queries
):
    make_project()
    keyring.rebuild(valkey)
    with django_assert_num_queries(1):
        assert keyring.rebuild(valkey) == 0


def missed_new_key(valkey, project, key):
    valkey.hdel(MIRROR, key.digest)


def missed_revocation(valkey, project, key):
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=project.created_at)


def missed_purge(valkey, project, key):
    ApiKey.objects.filter(pk=key.pk).delete()


def older_valkey(valkey, project, key):
    valkey.delete(MIRROR)
    valkey.hset(MIRROR, "0" * 64, b'{"p":1,"k":"w","id":1,"rev":false}')


@pytest.mark.parametrize("missed", [missed_new_key, missed_revocation, missed_purge, older_valkey])
def test_rebuild_makes_up_for(valkey, make_project, make_key, missed):
    project, _ = make_project()
    key, _ = make_key(project)
    keyring.rebuild(valkey)
    missed(valkey, project, key)
    assert keyring.rebuild(valkey) > 0
    mirrored = {field.decode(): read_entry(value) for field, value in valkey.hgetall(MIRROR).items()}
    assert mirrored == {
        key.digest: Grant(project.pk, KeyKind(key.kind), key.pk, key.revoked) for key in ApiKey.objects.all()
    }


def test_a_field_altered_by_hand_is_found_when_the_version_expires(valkey, make_project):
    _, write_key = make_project()
    keyring.rebuild(valkey)
    assert 0 < valkey.ttl(VERSION) <= keyring.VERSION_SECONDS
    valkey.hset(MIRROR, keys.digest(write_key), b"not json")
    valkey.delete(VERSION)
    assert keyring.rebuild(valkey) == 1
    assert entry(valkey, write_key)


def test_a_full_valkey_still_stops_a_revoked_key(valkey, make_project):
    project, write_key = make_project()
    before = valkey.config_get("maxmemory")
    valkey.config_set("maxmemory", 1)
    try:
        revoke_key(project.keys.get())
        assert entry(valkey, write_key) is None
    finally:
        valkey.config_set("maxmemory", before["maxmemory"])


def test_changes_succeed_while_valkey_is_away_and_are_mirrored_later(valkey, services, make_project):
    services.valkey.stop()
    project, write_key = make_project()
    revoke_key(project.keys.get())
    services.valkey.start()
    keyring.rebuild(valkey)
    assert entry(valkey, write_key).revoked


@pytest.mark.parametrize("value", [b"", b"{}", b'{"p":1,"k":"x","id":1,"rev":false}', b'{"p":"1"}'])
def test_a_damaged_entry_is_an_error_and_no_grant(value):
    with pytest.raises(msgspec.DecodeError):
        read_entry(value)


def test_rebuild_says_when_valkey_is_away(valkey, services):
    services.valkey.stop()
    with pytest.raises(redis.RedisError):
        keyring.rebuild(valkey)
    services.valkey.start()
