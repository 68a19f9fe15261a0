"""What all tests share: factories, and a Valkey that is empty."""

from collections.abc import Callable, Iterator

import pytest
import redis
from django.contrib.auth.models import User
from knox.models import get_token_model
from rest_framework.test import APIClient

from eventsite.valkey import sync_client
from projects import services
from projects.models import Membership, Project, Role


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


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """The tests' own Valkey, empty."""
    client = sync_client()
    client.flushall()
    yield client
    client.flushall()
