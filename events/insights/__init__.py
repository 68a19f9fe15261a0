"""Questions of the lake: one language for all of them (question.py), one place that builds SQL (scan.py, filters.py)."""
