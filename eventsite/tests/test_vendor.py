"""The browser's files of packages: the right bytes, served by us, kept by browsers."""

import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from eventsite import vendor


def test_every_file_is_the_one_that_was_checked() -> None:
    vendor.verify()


def test_another_file_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vendor.FILES["youplot"], "vendor/uplot.min.css", "0" * 64)
    with pytest.raises(CommandError, match=r"youplot/vendor/uplot.min.css is not the file that was checked"):
        call_command("bootstrap")


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(vendor.WrongFile, match="no_such_package is missing"):
        vendor.folder("no_such_package")


def test_they_are_served_and_kept(client, db) -> None:
    page = client.get("/sign-in").content.decode()
    addresses = [*re.findall(r'(?:src|href)="(/static/[^"]+)"', page), "/static/uplot/uplot.iife.min.js?v=1"]
    assert len(addresses) > 6
    for address in addresses:
        answer = client.get(address)
        assert (answer.status_code, "immutable" in answer["Cache-Control"]) == (200, True), address


def test_no_python_is_served(client, db) -> None:
    assert client.get("/static/uplot/__init__.py").status_code == 404
