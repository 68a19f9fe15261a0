"""The queue's address as kombu spells it. Apart from celery.py, so that Flower needs neither our app nor Django."""


def broker_url(redis_url: str) -> str:
    """Takes a redis-py URL, returns kombu's form of it: unix sockets are spelled differently there."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    database = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair).get("db", "0")
    return f"redis+socket://{path}?virtual_host={database}"
