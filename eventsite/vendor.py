"""The browser's files that come from packages: served from where pip put them, after a look at their SHA-256.

An update that changes one of them stops the start until somebody has read what changed, and put its digest here.
"""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from django.contrib.staticfiles.finders import FileSystemFinder

# Package -> path in it -> SHA-256. youplot only carries uPlot 1.6.31 (the same bytes as npm's): its Python is never imported.
FILES: Final = {
    "youplot": {
        "vendor/uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
        "vendor/uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    },
    "django_htmx": {
        "static/django_htmx/htmx-2.min.js": "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
        "static/django_htmx/ext/hx-sse-2.min.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
    },
}
KEPT: Final = frozenset(("eventsite", "uplot", "django_htmx"))


class WrongFile(Exception):
    """A file is missing or not the one that was read; the text is one line."""


def folder(package: str) -> Path:
    """Returns where a package lies, without importing it. Errors: WrongFile where it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WrongFile(f"The package {package} is missing: install requirements.txt.")
    return Path(spec.submodule_search_locations[0])


def verify() -> None:
    """Raises WrongFile unless every file is there with its digest. Some 3 ms."""
    for package, files in FILES.items():
        place = folder(package)
        for name, known in files.items():
            path = place / name
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
            if found != known:
                raise WrongFile(
                    f"{package}/{name} is not the file that was checked (SHA-256 {found}): install the versions "
                    "of requirements.txt, or check the new file and change eventsite/vendor.py."
                )


def keep_for_good(headers: Any, path: str, url: str) -> None:
    """For servestatic: what pages ask for with its digest (`{% asset %}`) a browser need not ask for again.

    Security's middleware does not see static files.
    """
    headers["X-Content-Type-Options"] = "nosniff"
    if url.removeprefix("/static/").partition("/")[0] in KEPT:
        headers["Cache-Control"] = "max-age=31536000, public, immutable"


class VendorFinder(FileSystemFinder):
    """Finds STATICFILES_DIRS, but no Python: the folder of a package holds its `__init__.py` too."""

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[Any]:
        return iter(super().list([*(ignore_patterns or ()), "*.py", "__pycache__"]))
