"""The state directory: its paths, modes and secrets."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eventsite import embedded, state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_secrets_and_directories_are_closed_to_others(tmp_path):
    found = state.prepare(tmp_path / "var")
    assert mode(found.secrets) == 0o600
    assert {mode(found.logs), mode(found.run), mode(found.valkey)} == {0o700}


def test_a_directory_that_grew_open_is_closed_again(tmp_path):
    found = state.prepare(tmp_path / "var")
    found.run.chmod(0o755)
    state.prepare(tmp_path / "var")
    assert mode(found.run) == 0o700


def test_a_link_in_the_place_of_a_directory_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ours").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(state.StateError, match="not a directory of ours"):
        state.private_dir(tmp_path / "ours")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_another_users_directory_is_refused_and_left_as_it_is(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(state.StateError, match="not a directory of ours"):
        state.private_dir(theirs)
    assert (mode(theirs), theirs.stat().st_uid) == (0o755, 12345)


def test_addresses_are_the_same_in_every_spelling_of_the_directory(tmp_path, monkeypatch):
    (tmp_path / "var").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "var")
    monkeypatch.chdir(tmp_path)
    assert embedded.urls("var") == embedded.urls(tmp_path / "link") == embedded.urls(tmp_path / "var")


def test_asking_for_addresses_makes_nothing(tmp_path):
    embedded.urls(tmp_path / "var")
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("name", ["v" * 100, "with, comma", "ünlaut", "with space"])
def test_a_path_that_no_socket_takes_gets_a_short_one(name, tmp_path):
    found = state.places(tmp_path / name)
    for directory in (found.postgres_sockets, found.valkey_sockets):
        assert len(os.fsencode(directory / state.POSTGRES_SOCKET)) <= state.SOCKET_PATH_MAX_BYTES
        assert directory.parent == Path("/tmp")


def test_two_state_directories_never_share_a_short_path(tmp_path):
    one, two = (state.places(tmp_path / ("v" * 100) / name) for name in "ab")
    assert len({one.postgres_sockets, one.valkey_sockets, two.postgres_sockets, two.valkey_sockets}) == 4


def test_processes_that_make_the_secret_at_the_same_time_agree(tmp_path):
    code = f"from eventsite import embedded; print(embedded.secret_key({str(tmp_path / 'var')!r}))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
