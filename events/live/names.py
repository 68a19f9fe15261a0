"""Names in Valkey, and the bounds of what is kept there and shown."""

from functools import cache
from pathlib import Path
from typing import Final

WATCHED: Final = "es:live:watched"  # hash: project -> epoch ms until which, and since which, somebody looks
WATCH_SECONDS: Final = 60  # after its last reader has left
REFRESH_SECONDS: Final = 15
KEEP_SECONDS: Final = 120  # beyond every watch that could still be resumed
MAX_PROJECTS: Final = 100  # watched at a time: with the next bound at most 32 MB of Valkey's memory
MAX_BYTES: Final = 32_000_000
MAX_STREAM_BYTES: Final = 4_000_000  # of one project
MAX_ENTRIES: Final = 5_000
MAX_AGE_SECONDS: Final = (
    600  # what was erased or dropped elsewhere is not kept here for as long as somebody looks
)
MAX_ENTRY_EVENTS: Final = 100  # of one batch; the others are only counted
MAX_ENTRY_BYTES: Final = 32_000
MAX_NAMES_BYTES: Final = 8_000  # of the names that a batch's count is split by
MAX_JSON_BYTES: Final = 2_000  # of one event's properties, and of its context

POLL_SECONDS: Final = 0.25
FRAME_SECONDS: Final = 0.5  # two frames at most each time: four a second
FRAME_EVENTS: Final = 50
RESUMED_EVENTS: Final = 500  # in the one frame that brings what was missed
COUNTED_SECONDS: Final = 60
COUNTED_NAMES: Final = 20
HEARTBEAT_SECONDS: Final = 15
STUCK_SECONDS: Final = 30  # a reader that takes nothing for so long is dropped
MAX_PENDING_BYTES: Final = 2_000_000  # for one reader; entries are shared by all of a project
MAX_READERS: Final = 500  # of a web process
MAX_PROJECT_READERS: Final = 250


def stream(project_id: int) -> str:
    """The project's stream. Its ids are epoch-number: when its count began, and how many events there were since."""
    return f"es:live:{project_id}"


def place(project_id: int) -> str:
    """A hash: epoch, number of the last event, bytes of the stream."""
    return f"es:live:{project_id}:at"


@cache
def script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text()
