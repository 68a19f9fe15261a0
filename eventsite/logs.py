"""What is not worth a line: the tick comes by once a second, and its success is no news."""

import logging


class WithoutTicks(logging.Filter):
    """Drops the success line of the tick; a failure of it is told by another."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, dict) and record.args.get("name") == "tasks.pipeline.tick")
