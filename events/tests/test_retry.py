"""What an error means: by SQLSTATE, whatever class the driver raises."""

import psycopg2
import pytest
import redis
from django import db

from events import retry


class Refused(psycopg2.Error):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("refused")
        self._sqlstate = sqlstate

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self._sqlstate


def raised(kind: type[db.Error], sqlstate: str | None) -> Exception:
    error = kind("refused")
    error.__cause__ = Refused(sqlstate)
    return error


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [
        (db.OperationalError, None),
        (db.InterfaceError, None),
        (db.OperationalError, "08006"),
        (db.OperationalError, "40001"),
        (db.OperationalError, "40P01"),
        (db.OperationalError, "53100"),
        (db.OperationalError, "57P01"),
        (db.OperationalError, "57014"),
        (db.InternalError, "25006"),
        (db.InternalError, "25P04"),
        (db.IntegrityError, "23505"),
    ],
)
def test_infrastructure_errors_are_transient(kind: type[db.Error], sqlstate: str | None) -> None:
    assert isinstance(retry.classify(raised(kind, sqlstate)), retry.Transient)


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [
        (db.DataError, "22P05"),
        (db.IntegrityError, "23514"),
        (db.OperationalError, "54001"),
        (db.DataError, "22001"),
    ],
)
def test_data_errors_are_bad_data(kind: type[db.Error], sqlstate: str) -> None:
    assert isinstance(retry.classify(raised(kind, sqlstate)), retry.BadData)


def test_a_value_error_is_bad_data_and_a_lost_queue_is_transient() -> None:
    assert isinstance(retry.classify(ValueError("NUL")), retry.BadData)
    assert isinstance(retry.classify(redis.ConnectionError("gone")), retry.Transient)


@pytest.mark.parametrize("error", [KeyError("x"), raised(db.ProgrammingError, "42703")])
def test_our_own_bugs_are_neither(error: Exception) -> None:
    assert retry.classify(error) is None


def test_the_backoff_doubles_up_to_its_cap() -> None:
    assert [retry.backoff_seconds(n, base=1, cap=5) for n in range(1, 6)] == [1, 2, 4, 5, 5]
