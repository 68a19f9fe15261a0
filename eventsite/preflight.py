"""What is checked before anything is started. Each failure is one line for a person."""

import errno
import os
import resource
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

from eventsite.state import StateError

PYTHON_MIN = (3, 11)
DISK_MIN_BYTES = 200_000_000
OPEN_FILES = 65_536


def check_python() -> None:
    if sys.version_info < PYTHON_MIN:
        needed, this = ".".join(map(str, PYTHON_MIN)), sys.version.split()[0]
        raise StateError(f"Eventsite needs Python {needed} or newer, this is {this}.")


def check_disk(var: Path, *, min_bytes: int = DISK_MIN_BYTES) -> None:
    free_mb, min_mb = shutil.disk_usage(var).free // 1_000_000, min_bytes // 1_000_000
    if free_mb < min_mb:
        raise StateError(
            f"The disk of {var} is full: {free_mb} MB are free, at least {min_mb} MB are needed."
        )


def check_ports(host: str, ports: dict[str, int]) -> None:
    """Takes the ports by the names of their variables. Bound without SO_REUSEPORT, which granian sets: two
    granians of one user would share a port without a word."""
    if len(set(ports.values())) < len(ports):
        raise StateError(f"{' and '.join(ports)} must differ, both are {next(iter(ports.values()))}.")
    for name, port in ports.items():
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
        except OSError as error:
            raise StateError(_why(name, host, port, error)) from None


def _why(name: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program: set {name} to a free one."
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user: set {name} to one above 1023."
    return f"Cannot listen on {host}:{port} (HOST, {name}): {error.strerror or error}."


def raise_open_files() -> None:
    """One connection is one open file: lifts the limit as far as allowed, for us and all that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if os.geteuid() == 0 and 0 <= hard < OPEN_FILES:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
            return
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
