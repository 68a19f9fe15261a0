"""What all tests share: factories, a Valkey that is empty, and a lake of each test's own."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from typing import Final

import pytest
import redis
from django.contrib.auth.models import User
from knox.models import get_token_model
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from eventsite.valkey import sync_client
from projects import services
from projects.models import Membership, Project, Role

LAKES: Final = count()


def _make_user(username: str = "ada", **fields: object) -> User:
    """A person, without a password unless one is given: hashing one takes a fifth of a second."""
    return User.objects.create_user(username, **fields)


def _make_project(
    owner: User | None = None, *, name: str = "Web shop", members: tuple[User, ...] = ()
) -> services.CreatedProject:
    if owner is None:
        owner = User.objects.filter(username="owner").first() or _make_user("owner")
    created = services.create_project(name=name, owner=owner)
    for member in members:
        Membership.objects.create(project=created.project, user=member, role=Role.MEMBER)
    return created


def _make_key(project: Project, kind: str = "write", name: str = "") -> services.CreatedKey:
    return services.create_key(project=project, kind=kind, name=name)


def _login(user: User | None) -> APIClient:
    """A client with a real token of this person's, or without any."""
    client = APIClient()
    if user is not None:
        _, token = get_token_model().objects.create(user)
        client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    return _make_user


@pytest.fixture
def make_project(db: None) -> Callable[..., services.CreatedProject]:
    return _make_project


@pytest.fixture
def make_key(db: None) -> Callable[..., services.CreatedKey]:
    return _make_key


@pytest.fixture
def login(db: None) -> Callable[[User | None], APIClient]:
    return _login


@pytest.fixture(autouse=True)
def _own_lake(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> None:
    """A folder that does not exist yet: tests that need none pay nothing."""
    settings.EVENTS_LAKE_DIR = tmp_path_factory.getbasetemp() / f"lake-{next(LAKES)}"


@pytest.fixture
def seal_all() -> Callable[[], int]:
    """Seals whatever is stored; returns the number of rows."""
    from events.lake.seal import seal

    def seal_all() -> int:
        rows, more = 0, True
        while more:
            sealed = seal()
            assert not sealed.busy
            rows, more = rows + sealed.rows, sealed.more
        return rows

    return seal_all


@pytest.fixture
def merge_all() -> Callable[..., list[str]]:
    """Merges until nothing is due (`now` as given); returns the kinds of the steps. Rows of no project are dropped."""
    from events.lake.merge import merge

    def merge_all(now: datetime | None = None) -> list[str]:
        kinds = []
        while merged := merge(now=now):
            kinds.append(merged.kind)
        return kinds

    return merge_all


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """The tests' own Valkey, empty."""
    client = sync_client()
    client.flushall()
    yield client
    client.flushall()
