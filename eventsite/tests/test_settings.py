"""Settings: the same in code, `.env.example` and README; wrong values stop the start; what follows from the addresses."""

import ast
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.codes import Code as EventCode
from eventsite import console, state
from projects.codes import Code as KeyCode

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SETTINGS = ROOT / "eventsite" / "settings.py"
COMPUTED = ""  # the default depends on the machine or on other settings


def read_by_settings() -> dict[str, str]:
    """Returns the variables that settings.py reads, each with its default as a person would write it."""
    found = {}
    for call in ast.walk(ast.parse(SETTINGS.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute | ast.Name):
            reads = ast.unparse(call.func)
            if re.fullmatch(r"env\.(str|int|float|bool)", reads) and isinstance(call.args[0], ast.Constant):
                found[call.args[0].value] = spelled(ast.literal_eval(call.args[1]))
            elif reads == "address":
                found[ast.literal_eval(call.args[0])] = COMPUTED
    return found


def spelled(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")


def of_example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(match.groups() for line in lines if (match := re.fullmatch(r"#([A-Z_]+)=(.*)", line)))


def of_readme() -> dict[str, str]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .{10,} \|$", README, re.MULTILINE)
    return {name: COMPUTED if default == "computed" else default.strip("`") for name, default in rows}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs settings.py anew with these variables and no others of its own; returns what it defines."""

    def load(**variables: str) -> dict[str, Any]:
        for name in read_by_settings():
            if name != "EVENTSITE_VAR":
                monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return load


# --- one list, three places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [of_example, of_readme])
def test_every_setting_is_listed_with_its_default(listed: Callable[[], dict[str, str]]) -> None:
    assert listed() == read_by_settings()


def test_the_example_file_changes_nothing_as_it_is() -> None:
    assert all(line.startswith("#") or not line for line in (ROOT / ".env.example").read_text().splitlines())


@pytest.mark.parametrize("code", [*EventCode, *KeyCode])
def test_readme_lists_every_code_that_an_answer_of_ingestion_may_hold(code: str) -> None:
    assert code == KeyCode.NOT_OWNER or f"`{code}`" in README


def test_the_files_that_the_docs_name_are_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(
            r"(?<![\w/])(?:events|projects|tasks|eventsite|docs)/[\w./-]*\w", page.read_text()
        )
    }
    assert "events/edge.py" in named
    assert [
        name for name in sorted(named) if "NNNN" not in name and "." in name and not (ROOT / name).exists()
    ] == []


def test_the_first_curl_line_of_readme_is_the_one_that_a_start_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = state.prepare(tmp_path / "var")
    known = {
        "url": "http://127.0.0.1:8000",
        "flower_url": "",
        "admin_user": "",
        "admin_password": "",
        "write_key": "es_w_...",
    }
    found.credentials.write_text(json.dumps(known))
    console.say_hello(found)
    printed = next(line for line in capsys.readouterr().out.splitlines() if "curl" in line and "-d" in line)
    first = next(line for line in README.splitlines() if line.startswith("curl"))
    assert first == printed.strip()


# --- wrong values -----------------------------------------------------------------------------------------------------

NUMBERS = sorted(name for name, default in read_by_settings().items() if default.isdecimal())


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["many", "", "-1", "1e400"])
def test_a_wrong_number_names_its_variable(load: Callable[..., Any], name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=rf'^eventsite: .*"{name}"'):
        load(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("EVENTS_DRAIN_RATE", "0"),
        ("EVENTS_KEY_CACHE_SECONDS", "5"),
        ("DEBUG", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("VALKEY_APPENDFSYNC", "no"),
        ("DATABASE_URL", "sqlite:///db.sqlite3"),
        ("DATABASE_URL", "nonsense"),
        ("REDIS_URL", "amqp://localhost"),
        ("PUBLIC_URL", "events.example.com"),
        ("PUBLIC_URL", "https://example.com/events"),
    ],
)
def test_a_value_that_cannot_be_names_its_variable(load: Callable[..., Any], name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=rf'^eventsite: .*"{name}"'):
        load(**{name: value})


@pytest.mark.parametrize("command", ["check", "up"])
def test_a_wrong_value_stops_the_start_in_one_line(command: str) -> None:
    env = os.environ | {"EVENTS_BATCH_SIZE": "none"}
    run = subprocess.run(
        [sys.executable, "manage.py", command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert run.returncode != 0
    assert run.stderr == 'eventsite: Environment variable "EVENTS_BATCH_SIZE" invalid: Not a valid integer.\n'
    assert run.stdout == ""


# --- what follows from HOST, PORT and PUBLIC_URL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "public_url", "host"),
    [
        ({}, "http://127.0.0.1:8000", "127.0.0.1"),
        ({"PORT": "8123"}, "http://127.0.0.1:8123", "localhost"),
        ({"HOST": "::"}, "http://127.0.0.1:8000", socket.gethostname()),
        ({"HOST": "192.0.2.7"}, "http://192.0.2.7:8000", "192.0.2.7"),
        ({"HOST": "2001:db8::7"}, "http://[2001:db8::7]:8000", "[2001:db8::7]"),
        ({"PUBLIC_URL": "https://events.example.com/"}, "https://events.example.com", "events.example.com"),
        ({"PUBLIC_URL": "http://example.com:81", "HOST": "::"}, "http://example.com:81", "example.com"),
    ],
)
def test_allowed_hosts_and_form_origins_follow_the_address(
    load: Callable[..., Any], variables: dict[str, str], public_url: str, host: str
) -> None:
    settings = load(**variables)
    assert settings["PUBLIC_URL"] == public_url
    assert host in settings["ALLOWED_HOSTS"]
    assert "*" not in settings["ALLOWED_HOSTS"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == [public_url]


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
def test_cookies_and_the_proxys_word_follow_the_scheme(
    load: Callable[..., Any], scheme: str, secure: bool
) -> None:
    settings = load(PUBLIC_URL=f"{scheme}://events.example.com")
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is secure
    assert (settings["SECURE_PROXY_SSL_HEADER"] is not None) is secure


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "SECRET_KEY", "EVENTSITE_VAR"])
def test_an_empty_address_is_the_computed_one(
    load: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "EVENTSITE_VAR":
        monkeypatch.setenv("SECRET_KEY", "given, so that none is made beside the code")
    attribute = "VAR_DIR" if name == "EVENTSITE_VAR" else name
    assert load(**{name: ""})[attribute]


def test_servers_of_ones_own_are_used(load: Callable[..., Any]) -> None:
    settings = load(
        DATABASE_URL="postgresql://u:p@db.example.com:5433/events", REDIS_URL="redis://queue:6379/2"
    )
    database = settings["DATABASES"]["default"]
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example.com", 5433, "events")
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert settings["REDIS_URL"] == "redis://queue:6379/2"
