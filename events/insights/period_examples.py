"""The period of example answers, as the schema shows them: two days of January in Berlin."""

from typing import Final

_DAYS: Final = ["2026-01-04T00:00:00+01:00", "2026-01-05T00:00:00+01:00", "2026-01-06T00:00:00+01:00"]
PERIOD: Final = {"from": _DAYS[0], "until": _DAYS[2], "time_zone": "Europe/Berlin"}
BY_DAY: Final = {"period": {**PERIOD, "interval": "day"}, "times": _DAYS[:2]}
