"""Settings, from the environment only. Each is typed and checked here; `.env.example` and README list them all.

A wrong value names its variable and stops the start.
"""

import socket
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from environs import Env, EnvError, validate

from eventsite import embedded, vendor
from eventsite.state import StateError
from eventsite.vendor import WrongFile

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(str(BASE_DIR / ".env"), recurse=False)

positive = validate.Range(min=1)


def address(name: str, pattern: str, example: str) -> str:
    """Returns a variable that must begin like `pattern`, or "" where it is not set: the default is computed then."""
    return env.str(name, "", validate=validate.Regexp(f"$|{pattern}", error=f"Must be like {example}."))


try:
    # --- where it runs -----------------------------------------------------------------------------------
    VAR_DIR: Path = Path(env.str("EVENTSITE_VAR", "") or BASE_DIR / "var").absolute()
    HOST: str = env.str("HOST", "127.0.0.1")
    PORT: int = env.int("PORT", 8000, validate=validate.Range(min=1, max=65535))
    FLOWER_PORT: int = env.int("FLOWER_PORT", 5555, validate=validate.Range(min=1, max=65535))
    WEB_WORKERS: int = env.int("WEB_WORKERS", 1, validate=positive)
    _reachable_host = "127.0.0.1" if HOST in {"0.0.0.0", "::", ""} else HOST  # noqa: S104
    _host_in_url = f"[{_reachable_host}]" if ":" in _reachable_host else _reachable_host
    PUBLIC_URL: str = address("PUBLIC_URL", r"https?://[^/?#\s]+/?$", "https://events.example.com")
    PUBLIC_URL = PUBLIC_URL.rstrip("/") or f"http://{_host_in_url}:{PORT}"
    DATABASE_URL: str = address("DATABASE_URL", "postgres(ql)?://", "postgresql://user:password@host/name")
    DATABASE_URL = DATABASE_URL or embedded.urls(VAR_DIR).database_url
    REDIS_URL: str = address("REDIS_URL", "(rediss?|unix)://", "redis://:password@host:6379/0")
    REDIS_URL = REDIS_URL or embedded.urls(VAR_DIR).redis_url
    DATABASE_CONN_MAX_AGE: int = env.int("DATABASE_CONN_MAX_AGE", 300, validate=validate.Range(min=0))
    METRICS_TOKEN: str = env.str("METRICS_TOKEN", "")
    SECRET_KEY: str = env.str("SECRET_KEY", "") or embedded.secret_key(VAR_DIR)
    DEBUG: bool = env.bool("DEBUG", False)
    LOG_LEVEL: str = env.str(
        "LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])
    )

    # --- embedded servers (ignored where DATABASE_URL / REDIS_URL are given) --------------------------------
    VALKEY_MAXMEMORY_MB: int = env.int("VALKEY_MAXMEMORY_MB", 512, validate=validate.Range(min=32))
    VALKEY_APPENDFSYNC: str = env.str(
        "VALKEY_APPENDFSYNC", "everysec", validate=validate.OneOf(["everysec", "always"])
    )

    # --- accept: limits of one request -----------------------------------------------------------------------
    EVENTS_MAX_EVENT_BYTES: int = env.int(
        "EVENTS_MAX_EVENT_BYTES", 1_000_000, validate=validate.Range(min=1_000, max=8_000_000)
    )
    EVENTS_MAX_REQUEST_EVENTS: int = env.int("EVENTS_MAX_REQUEST_EVENTS", 5_000, validate=positive)
    EVENTS_MAX_COMPRESSED_BYTES: int = env.int("EVENTS_MAX_COMPRESSED_BYTES", 5_000_000, validate=positive)
    EVENTS_MAX_BODY_BYTES: int = env.int("EVENTS_MAX_BODY_BYTES", 20_000_000, validate=positive)
    EVENTS_MAX_DEPTH: int = env.int("EVENTS_MAX_DEPTH", 64, validate=validate.Range(min=1, max=500))
    EVENTS_MAX_IN_FLIGHT_BYTES: int = env.int("EVENTS_MAX_IN_FLIGHT_BYTES", 64_000_000, validate=positive)
    EVENTS_BODY_TIMEOUT_SECONDS: float = env.float(
        "EVENTS_BODY_TIMEOUT_SECONDS", 10.0, validate=validate.Range(min=0.1)
    )
    EVENTS_KEY_CACHE_SECONDS: float = env.float(
        "EVENTS_KEY_CACHE_SECONDS", 2.0, validate=validate.Range(min=0, max=4)
    )

    # --- buffer: the queue of record ---------------------------------------------------------------------------
    EVENTS_LINGER_MS: float = env.float("EVENTS_LINGER_MS", 2.0, validate=validate.Range(min=0, max=1_000))
    EVENTS_QUEUE_MAX_EVENTS: int = env.int("EVENTS_QUEUE_MAX_EVENTS", 600_000, validate=positive)
    EVENTS_QUEUE_MAX_BYTES: int = env.int("EVENTS_QUEUE_MAX_BYTES", 240_000_000, validate=positive)

    # A project's quota where it has none of its own; 0: without limit. The burst is the rate where it is 0.
    EVENTS_QUOTA_PER_SECOND: int = env.int("EVENTS_QUOTA_PER_SECOND", 0, validate=validate.Range(min=0))
    EVENTS_QUOTA_BURST: int = env.int("EVENTS_QUOTA_BURST", 0, validate=validate.Range(min=0))
    EVENTS_QUOTA_PER_DAY: int = env.int("EVENTS_QUOTA_PER_DAY", 0, validate=validate.Range(min=0))

    # --- drain and store -------------------------------------------------------------------------------------
    EVENTS_BATCH_SIZE: int = env.int("EVENTS_BATCH_SIZE", 1_000, validate=validate.Range(min=1, max=50_000))
    EVENTS_BATCH_MAX_BYTES: int = env.int(
        "EVENTS_BATCH_MAX_BYTES", 8_000_000, validate=validate.Range(min=1_000, max=64_000_000)
    )
    EVENTS_DRAIN_RATE: int = env.int("EVENTS_DRAIN_RATE", 50, validate=positive)
    EVENTS_DRAIN_SLOTS: int = env.int("EVENTS_DRAIN_SLOTS", 2, validate=validate.Range(min=1, max=32))
    EVENTS_STALL_SECONDS: int = env.int("EVENTS_STALL_SECONDS", 30, validate=validate.Range(min=1, max=3_600))
    EVENTS_RETRY_BASE_SECONDS: int = env.int("EVENTS_RETRY_BASE_SECONDS", 1, validate=positive)
    EVENTS_RETRY_CAP_SECONDS: int = env.int(
        "EVENTS_RETRY_CAP_SECONDS", 5, validate=validate.Range(min=1, max=30)
    )
    EVENTS_PARTITIONS_AHEAD_DAYS: int = env.int(
        "EVENTS_PARTITIONS_AHEAD_DAYS", 7, validate=validate.Range(min=2, max=90)
    )

    # --- dead letters ------------------------------------------------------------------------------------------
    EVENTS_ROWS_DAYS: int = env.int("EVENTS_ROWS_DAYS", 30, validate=validate.Range(min=2))
    EVENTS_DEAD_DAYS: int = env.int("EVENTS_DEAD_DAYS", 90, validate=validate.Range(min=2))
    EVENTS_REPLAY_RATE: int = env.int("EVENTS_REPLAY_RATE", 200, validate=validate.Range(min=1, max=10_000))

    # --- the lake, and questions of it -------------------------------------------------------------------------
    EVENTS_LAKE_DIR: Path = Path(env.str("EVENTS_LAKE_DIR", "") or VAR_DIR / "lake").absolute()
    EVENTS_LAKE_DAYS: int = env.int("EVENTS_LAKE_DAYS", 0, validate=validate.Range(min=0))
    EVENTS_QUESTION_SECONDS: float = env.float(
        "EVENTS_QUESTION_SECONDS", 10.0, validate=validate.Range(min=0.1, max=300)
    )
    EVENTS_QUESTION_MEMORY_MB: int = env.int(
        "EVENTS_QUESTION_MEMORY_MB", 512, validate=validate.Range(min=64)
    )
    EVENTS_QUESTION_ROWS: int = env.int(
        "EVENTS_QUESTION_ROWS", 10_000, validate=validate.Range(min=1, max=1_000_000)
    )
    EVENTS_QUESTION_SLOTS: int = env.int("EVENTS_QUESTION_SLOTS", 1, validate=validate.Range(min=1, max=8))
    if EVENTS_LAKE_DAYS and EVENTS_LAKE_DAYS < EVENTS_ROWS_DAYS:
        raise EnvError(
            f"EVENTS_LAKE_DAYS must be 0 or at least EVENTS_ROWS_DAYS, which is {EVENTS_ROWS_DAYS}."
        )
    if EVENTS_DEAD_DAYS < EVENTS_ROWS_DAYS:
        raise EnvError(f"EVENTS_DEAD_DAYS must be at least EVENTS_ROWS_DAYS, which is {EVENTS_ROWS_DAYS}.")
    UPLOT_DIR = vendor.folder("youplot") / "vendor"
except (EnvError, StateError, WrongFile) as error:
    sys.exit(f"eventsite: {error}")

# --- what follows from the above ----------------------------------------------------------------------------
_public = urlsplit(PUBLIC_URL)
ALLOWED_HOSTS = sorted(
    {_public.hostname or "localhost", "localhost", "127.0.0.1", "[::1]"}
    | ({socket.gethostname()} if _reachable_host != HOST else {_host_in_url})
)
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _public.scheme == "https"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _public.scheme == "https" else None

INSTALLED_APPS = [
    "eventsite",
    "projects",
    "events",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "lucide",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
LOOP_MIDDLEWARE = ["servestatic.middleware.ServeStaticMiddleware", "eventsite.health.health_middleware"]
MIDDLEWARE = [
    *LOOP_MIDDLEWARE,
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "eventsite.urls"
WSGI_APPLICATION = "eventsite.wsgi.application"
ASGI_APPLICATION = "eventsite.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "eventsite.context.appearance",
            ]
        },
    }
]

DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
# A hung server must not block a caller for ever; statement limits are set where the statements are.
DATABASES["default"].setdefault("OPTIONS", {})["connect_timeout"] = 5
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "projects"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = "eventsite.formats"  # times with seconds and zone
X_FRAME_OPTIONS = "DENY"
# The admin's form that edits a dead letter: percent-encoding makes an event three times as long.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, 4 * EVENTS_MAX_EVENT_BYTES)
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"  # a new key is shown by a message: never in the database
SECURE_REFERRER_POLICY = "same-origin"

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [("uplot", UPLOT_DIR)]
STATICFILES_FINDERS = [
    "eventsite.vendor.VendorFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
]
SERVESTATIC_USE_FINDERS = True  # no collectstatic step: files come from the packages
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_ADD_HEADERS_FUNCTION = vendor.keep_for_good

# Everything from ourselves, nothing inline. A page that needs more says so at its view.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "projects.drf.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["eventsite.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "eventsite.pagination.Pagination",
    "EXCEPTION_HANDLER": "eventsite.api.handle_exception",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {"TOKEN_TTL": timedelta(days=365), "AUTH_HEADER_PREFIX": "Token", "TOKEN_PREFIX": "es_t_"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Eventsite",
    "DESCRIPTION": "Accepts, holds, stores and explains events.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "events.insights_schema.add_components",
    ],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname:<7} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "filters": {"without_ticks": {"()": "eventsite.logs.WithoutTicks"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "celery.app.trace": {
            "filters": ["without_ticks"]
        },  # one line a task: what it returned, and its seconds
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
