"""What is not worth a line: the tick comes by once a second, the look at replays every ten, and success is no news."""

import logging

QUIET = ("tasks.pipeline.tick", "tasks.replay.resume")


class WithoutTicks(logging.Filter):
    """Drops their success lines; a failure is told by another."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, dict) and record.args.get("name") in QUIET)
