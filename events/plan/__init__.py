"""The tracking plan: what a project's events of a name are to look like, and what becomes of those that do not.

bounds and check: a schema, and an event held against it. mirror: the plans in Valkey. book: the plans as a process knows
them. tally: what did not follow its plan, counted. draft: a schema made from events.
"""
