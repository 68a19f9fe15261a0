"""What a person sees and says: the addresses after a start, the status table, `down`, `logs`, a start in the
background.

Run as `python -m eventsite.console status|down|logs`; needs no settings but EVENTSITE_VAR.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from eventsite.processes import BoundedLog
from eventsite.state import Places, places
from eventsite.tenancy import HANDOVER_SECONDS, supervisor_pid

DETACHED_START_SECONDS = 700.0
POLL_SECONDS = 0.05


class Journal:
    """What the supervisor does, in its log, and on the terminal where a person should know."""

    def __init__(self, path: Path) -> None:
        self._log = BoundedLog(path)

    def write(self, text: str) -> None:
        self._log.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}\n".encode())

    def say(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a closed terminal is no reason to stop
            print(text, flush=True)
        self.write(text)


def say_hello(found: Places) -> None:
    """Prints the addresses, the login and a curl line that works as pasted: the last thing a start says."""
    known = json.loads(found.credentials.read_text())
    lines = [
        "",
        "Eventsite is up.",
        "",
        f"  Page    {known['url']}/",
        f"  Admin   {known['url']}/admin/    user {known['admin_user']}, password {known['admin_password']}",
        f"  Flower  {known['flower_url']}/    the same user and password",
        f"  Logs    {found.logs}    (make logs)",
        f"  Also    {found.credentials}    (keys, token, database)",
        "",
        "Send a first event:",
        "",
        f"  curl {known['url']}/v1/events -H 'Authorization: Bearer {known['write_key']}'"
        """ -d '{"name": "hello", "properties": {"from": "curl"}}'""",
        "",
    ]
    with suppress(OSError, ValueError):  # the terminal may be gone
        print("\n".join(lines), flush=True)


def status(found: Places) -> int:
    """Prints the table of processes. Returns 1 where nothing runs, or not all of it."""
    if not supervisor_pid(found):
        print(f"eventsite: not running on {found.var}", file=sys.stderr)
        return 1
    told = _read_status(found)
    rows = [("NAME", "PID", "STATE", "RESTARTS", "UP", "PSS MB")]
    own = {"name": "supervisor", "pid": told["pid"], "state": told["phase"], "restarts": 0, "since": 0.0}
    total = _pss(told["sentinel"])
    tree = _children_of_all()
    for part in [*told["children"], own]:
        weight = _pss(part["pid"]) if part is own else sum(map(_pss, _family(part["pid"], tree)))
        total += weight
        up = _spoken(time.time() - part["since"]) if part["pid"] and part["since"] else "-"
        rows.append(
            (
                part["name"],
                str(part["pid"] or "-"),
                part["state"],
                str(part["restarts"]),
                up,
                f"{weight / 1e6:.1f}",
            )
        )
    rows.append(("total", "", "", "", "", f"{total / 1e6:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(part["state"] == "running" for part in told["children"]) else 1


def down(found: Places) -> int:
    """Stops the running stack and waits until it is gone. Nothing running is fine too."""
    pid = supervisor_pid(found)
    if not pid:
        print(f"eventsite: not running on {found.var}")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + HANDOVER_SECONDS
    while supervisor_pid(found) == pid:
        if time.monotonic() > deadline:
            print(f"eventsite: pid {pid} does not stop, see {found.logs / 'supervisor.log'}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)
    print("eventsite: stopped")
    return 0


def logs(found: Places) -> int:
    """Follows all logs, through their turns, until interrupted. Becomes `tail`."""
    files = sorted(str(path) for path in found.logs.glob("*.log"))
    if not files:
        print(f"eventsite: no logs yet in {found.logs}", file=sys.stderr)
        return 1
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])  # noqa: S606


def start_detached(found: Places, argv: list[str], env: dict[str, str]) -> int:
    """Starts the supervisor in a session of its own, waits until all of it answers, prints the addresses."""
    found.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    output = found.logs / "start.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    deadline = time.monotonic() + DETACHED_START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if supervisor_pid(found) == process.pid and _read_status(found).get("phase") == "running":
            say_hello(found)
            return 0
        time.sleep(POLL_SECONDS)
    if process.poll() is None:
        process.terminate()
    sys.stderr.write(output.read_text(errors="replace"))
    return process.wait() or 1


def _read_status(found: Places) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        told: dict[str, Any] = json.loads(found.status.read_text())
        return told
    return {"pid": 0, "sentinel": 0, "phase": "starting", "children": []}


def _spoken(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    return f"{days}d {hours}h" if days else f"{hours}h {minutes}m" if hours else f"{minutes}m {whole % 60}s"


def _children_of_all() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            tree.setdefault(parent, []).append(int(directory.name))
    return tree


def _family(pid: int, tree: dict[int, list[int]]) -> list[int]:
    return [pid, *(member for child in tree.get(pid, []) for member in _family(child, tree))] if pid else []


def _pss(pid: int) -> int:
    """Bytes of a process, shared pages divided among those that share them; 0 when it is gone or not ours
    to see."""
    with suppress(OSError, ValueError, IndexError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(rollup.split("\nPss:")[1].split()[0]) * 1024
    return 0


def main(arguments: list[str]) -> int:
    commands = {"status": status, "down": down, "logs": logs}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: python -m eventsite.console {'|'.join(commands)}", file=sys.stderr)
        return 2
    default = Path(__file__).resolve().parent.parent / "var"
    return commands[arguments[0]](places(os.environ.get("EVENTSITE_VAR") or default))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
