"""Live: a project's events to those who look, as they are stored.

`publish` (the drain, after its commit) puts what was stored into a small Valkey stream of the project, while somebody
looks. `hub` (a web process) reads it once for all `reader`s of the project; `asgi` writes to them.
"""
