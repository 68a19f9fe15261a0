"""What the tests of pages share: a project with an owner and a member, and browsers that are signed in."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.contrib.auth.models import User
from django.test import Client

from events.tests.insights.conftest import questions
from projects.models import Project

__all__ = ["questions"]


@dataclass(frozen=True)
class Shop:
    project: Project
    write_key: str
    owner: User
    member: User
    outsider: User

    def path(self, below: str) -> str:
        return f"/projects/{self.project.pk}/{below}"


@pytest.fixture
def shop(make_user: Callable[..., User], make_project: Callable[..., object], valkey: object) -> Shop:
    owner, member, outsider = (make_user(name) for name in ("owner", "member", "outsider"))
    created = make_project(owner, members=(member,))
    return Shop(created.project, created.write_key, owner, member, outsider)


def browser(user: User | None, **headers: str) -> Client:
    """A browser of this person's; None: nobody is signed in. `htmx=target` asks for that fragment."""
    if target := headers.pop("htmx", ""):
        headers = {"HX-Request": "true", "HX-Target": target, **headers}
    client = Client(headers=headers)
    if user is not None:
        client.force_login(user)
    return client
