from django.apps import AppConfig


class EventsiteConfig(AppConfig):
    name = "eventsite"

    def ready(self) -> None:
        from eventsite import checks  # noqa: F401  registers them
