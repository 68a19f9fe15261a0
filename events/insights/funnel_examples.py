"""Questions of the kind `funnel` and an answer, as the schema shows them."""

from typing import Any, Final

_STEPS: Final = [
    {"name": "page_view", "where": {"property": "path", "op": "=", "value": "/pricing"}, "label": "pricing"},
    {"name": "signup"},
    {"name": "order_paid"},
]
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "Three steps within a week": {"steps": _STEPS, "window": {"last": "7d"}, "period": {"last": "30d"}},
    "By a property of the first step": {
        "steps": _STEPS,
        "window": 3_600,
        "breakdown": {"property": "plan", "limit": 5},
        "period": {"from": "2026-01-01", "until": "2026-02-01"},
        "time_zone": "Europe/Berlin",
    },
    "One directly after the other": {"steps": [{"name": "signup"}, {"name": None}], "order": "strict"},
    "Who paid after signing up, and who did not": {
        "steps": _STEPS[1:],
        "persons": {"step": 2, "state": "dropped", "limit": 50},
    },
}
EXAMPLE_ANSWER: Final[dict[str, Any]] = {
    "period": {
        "from": "2026-01-01T00:00:00+01:00",
        "until": "2026-02-01T00:00:00+01:00",
        "time_zone": "Europe/Berlin",
    },
    "window_seconds": 604_800,
    "order": "ordered",
    "steps": [
        {
            "label": "signup",
            "name": ["signup"],
            "persons": 400,
            "dropped": 0,
            "from_first": 1.0,
            "from_previous": 1.0,
            "median_seconds_from_previous": None,
            "median_seconds_from_first": None,
        },
        {
            "label": "order_paid",
            "name": ["order_paid"],
            "persons": 100,
            "dropped": 300,
            "from_first": 0.25,
            "from_previous": 0.25,
            "median_seconds_from_previous": 5_412.25,
            "median_seconds_from_first": 5_412.25,
        },
    ],
}
