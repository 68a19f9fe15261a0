"""Questions of the kind `performance` and an answer, as the schema shows them."""

from typing import Any, Final

from events.insights.period_examples import BY_DAY

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "Requests by hour, with their distribution": {
        "name": "request",
        "property": "duration_ms",
        "period": {"last": "3d"},
        "interval": "hour",
        "heatmap": True,
    },
    "The slowest pages, and those that became slower": {
        "name": "page_view",
        "property": "load_ms",
        "breakdown": {"property": "path", "limit": 20, "min_count": 100},
        "compare": "previous",
        "interval": None,
    },
    "Errors and Apdex, day by day": {
        "name": "request",
        "property": "duration_ms",
        "errors": {"property": "status", "op": ">=", "value": 500},
        "apdex": {"threshold": 300},
        "period": {"last": "30d"},
        "interval": "day",
    },
}
EXAMPLE_ANSWER: Final[dict[str, Any]] = {
    **BY_DAY,
    "series": {
        "count": [412, 380],
        "measured": [412, 379],
        "p50": [81.0, 84.5],
        "p90": [240.0, 251.2],
        "p95": [391.0, 410.4],
        "p99": [1204.0, 1190.2],
        "errors": [4, 0],
        "error_rate": [0.009708737864077669, 0.0],
        "apdex": [0.9417475728155340, 0.9340369393139841],
        "satisfied": [370, 340],
        "tolerated": [36, 28],
        "frustrated": [6, 11],
    },
    "total": {
        "count": 792,
        "measured": 791,
        "p50": 82.0,
        "p90": 246.0,
        "p95": 401.5,
        "p99": 1201.7,
        "errors": 4,
        "error_rate": 0.005050505050505051,
        "apdex": 0.9380530973451328,
        "satisfied": 710,
        "tolerated": 64,
        "frustrated": 17,
    },
    "heatmap": {
        "negative": [0, 0],
        "zero": [0, 1],
        "rows": [
            {"from": 56.2, "until": 100.0, "counts": [250, 231]},
            {"from": 100.0, "until": 178.0, "counts": [162, 147]},
        ],
    },
    "slowest": [{"group": "/search", "measured": 120, "p50": 310.0, "p95": 1180.0}],
    "regressions": [
        {
            "group": "/cart",
            "measured": 96,
            "p95": 420.0,
            "previous": {"measured": 101, "p95": 260.0},
            "rise": 160.0,
            "factor": 1.6153846153846154,
        }
    ],
}
