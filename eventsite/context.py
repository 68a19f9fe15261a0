"""What every template knows, the admin's and those of errors too."""

from django.http import HttpRequest

from eventsite.pages import theme_of


def appearance(request: HttpRequest) -> dict[str, str]:
    return {"theme": theme_of(request)}
