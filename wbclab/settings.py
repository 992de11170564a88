"""The settings. What a site may change comes from the environment (docs/deployment.md).

Without any configuration this is the embedded mode: SQLite and images under WBCLAB_HOME, one worker
process beside the web server, no broker. With WBCLAB_DATABASE_URL and WBCLAB_REDIS_URL it is the
production mode: PostgreSQL, Redis, Celery. A value that cannot be read fails at start, by name.
"""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ

from wbclab.environment import BASE_DIR, HOME, env
from wbclab.settings_integration import *  # noqa: F403
from wbclab.settings_observation import *  # noqa: F403
from wbclab.settings_storage import *  # noqa: F403

SOFTWARE_VERSION = env.str("WBCLAB_VERSION", default="unreleased")
DEBUG = env.bool("WBCLAB_DEBUG", default=False)
HTTPS = env.bool("WBCLAB_HTTPS", default=False)
DEMO = env.bool("WBCLAB_DEMO", default=False)
HOST = env.str("WBCLAB_HOST", default="127.0.0.1")
PORT = env.int("WBCLAB_PORT", default=8000)


def _embedded_secret_key() -> str:
    """Read, or draw once, the key of an installation nobody configured; it never leaves HOME."""
    path = HOME / "secret_key"
    if not path.exists():
        temporary = HOME / f".secret_key.{secrets.token_hex(4)}"
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(50))
        try:
            path.hardlink_to(temporary)  # fails where another process was first: its key holds
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text()


SECRET_KEY = env.str("WBCLAB_SECRET_KEY", default="") or _embedded_secret_key()
ALLOWED_HOSTS = env.list("WBCLAB_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("WBCLAB_CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "classifier",
    "specimens",
]

MIDDLEWARE = [
    "wbclab.request_log.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "wbclab.headers.SafeHeaders",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "specimens.views.sessions.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "specimens.views.sessions.SessionLimits",
    "specimens.views.sessions.SecondFactorFirst",
    "specimens.views.sessions.SignedInFirst",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "wbclab.urls"
ASGI_APPLICATION = "wbclab.asgi.application"
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
                "specimens.views.frame.frame",
            ],
        },
    },
]

# --- database -------------------------------------------------------------------------------------
DATABASES = {"default": env.db_url("WBCLAB_DATABASE_URL", f"sqlite:///{HOME / 'wbclab.sqlite3'}")}
_database: dict[str, Any] = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = {
        # Writers queue at BEGIN instead of failing at their first write inside a read snapshot.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL: a commit the sender was told of survives a power cut, not only a killed process.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    # Under ASGI each request runs in a thread of its own, so persistent connections would never be
    # reused: a pool is what spares the connection per request.
    _database.setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": env.int("WBCLAB_DATABASE_POOL", default=20),
        "timeout": 10,
    }
    # A cluster that is being restored, or stands by, answers reads only: that is one to wait for.
    _database["OPTIONS"].setdefault("target_session_attrs", "read-write")
    # Statements of our own that come with each call are planned once a connection
    # (specimens/selectors/written_out.py). Not behind a pooler that gives each transaction another.
    _prepare_after = env.int("WBCLAB_PREPARE_AFTER", default=3) or None
    _database["OPTIONS"].setdefault("prepare_threshold", _prepare_after)
    # Compiling a query takes PostgreSQL longer (300 ms) than answering any of these.
    _database["OPTIONS"].setdefault("options", "-c jit=off")
    if _lock_seconds := env.int("WBCLAB_LOCK_SECONDS", default=0):
        _database["OPTIONS"]["options"] += f" -c lock_timeout={_lock_seconds}s"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people ---------------------------------------------------------------------------------------
AUTH_USER_MODEL = "specimens.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "worklist"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_HASHERS = [
    "wbclab.passwords.BoundedArgon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 12},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: it counts, and refuses who is locked out
    "django.contrib.auth.backends.ModelBackend",
]
# Wrong passwords and codes of one account from one address; counted in the database, so that
# neither another process nor an emptied Redis forgets them.
AXES_FAILURE_LIMIT = env.int("WBCLAB_SIGN_IN_ATTEMPTS", default=5)
AXES_COOLOFF_TIME = timedelta(minutes=env.float("WBCLAB_LOCK_OUT_MINUTES", default=15))
# Both: from another address the person still gets in while somebody else is guessing.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # else guessing on would lock for ever
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "specimens.services.guessing.client_address"
AXES_DISABLE_ACCESS_LOG = True  # the audit trail has it
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
# Our views answer who is locked out themselves; the middleware would only do it again.
SILENCED_SYSTEM_CHECKS = ["axes.W002"]
# Wrong passwords, codes and tokens from one address in a minute, whatever the account.
WRONG_CREDENTIALS_LIMIT = env.int("WBCLAB_WRONG_CREDENTIALS", default=30)

SECOND_FACTOR = env.str("WBCLAB_SECOND_FACTOR", default="required" if HTTPS else "optional")
if SECOND_FACTOR not in ("required", "optional"):
    raise environ.ImproperlyConfigured("WBCLAB_SECOND_FACTOR: write required or optional.")
# What the keys of authenticator apps follow from, beside a number in the database.
SECOND_FACTOR_KEY = env.str("WBCLAB_SECOND_FACTOR_KEY", default="") or SECRET_KEY
OTP_TOTP_ISSUER = env.str("WBCLAB_SECOND_FACTOR_ISSUER", default="wbclab")

SESSION_COOKIE_AGE = 60 * env.int("WBCLAB_SESSION_MINUTES", default=600)
SESSION_IDLE_SECONDS = int(60 * env.float("WBCLAB_IDLE_MINUTES", default=30))
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# --- security -------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
if HTTPS:  # with this prefix browsers take a cookie from this host over TLS only
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
BEHIND_PROXY = env.bool("WBCLAB_BEHIND_PROXY", default=False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
    # Swagger UI sets styles and a start-up script inline; it shows no patient data.
    "EXCLUDE_URL_PREFIXES": ["/api/docs/"],
}

# --- time and language ----------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = env.str("WBCLAB_TIME_ZONE", default="UTC")
LANGUAGE_CODE = "en"
USE_I18N = False

# --- uploads --------------------------------------------------------------------------------------
PREDICT_BATCH_LIMIT = env.int("WBCLAB_PREDICT_BATCH_LIMIT", default=10)
UPLOAD_BATCH_LIMIT = 100  # files in one request of the portal; the page splits larger drops
DATA_UPLOAD_MAX_NUMBER_FILES = 2 * max(UPLOAD_BATCH_LIMIT, PREDICT_BATCH_LIMIT)
PREDICT_WAIT_SECONDS = env.float("WBCLAB_PREDICT_WAIT_SECONDS", default=2.0)
INFER_WAIT_SECONDS = env.float("WBCLAB_INFER_WAIT_SECONDS", default=30.0)
WEB_OWN_CORES = env.bool("WBCLAB_WEB_OWN_CORES", default=False)
PUBLIC_PREDICT = env.bool("WBCLAB_PUBLIC_PREDICT", default=False)

# --- queue and worker -----------------------------------------------------------------------------
REDIS_URL = env.str("WBCLAB_REDIS_URL", default="")
DOORBELL_PATH = HOME / "doorbell"
RESULTS_PATH = HOME / "results"
# On a CPU a larger batch is no faster, and a waiting client waits for it to end.
BATCH_SIZE = env.int("WBCLAB_BATCH_SIZE", default=16)
LEASE_SECONDS = env.float("WBCLAB_LEASE_SECONDS", default=15.0)
MAX_ATTEMPTS = env.int("WBCLAB_MAX_ATTEMPTS", default=5)
SWEEP_SECONDS = env.float("WBCLAB_SWEEP_SECONDS", default=5.0)
QUEUE_LIMIT = env.int("WBCLAB_QUEUE_LIMIT", default=50_000)
ENGINE = env.str("WBCLAB_ENGINE", default="auto")
ENGINE_THREADS = env.int("WBCLAB_ENGINE_THREADS", default=0) or None
DECODER_PROCESSES = env.int("WBCLAB_DECODERS", default=0) or None
MODEL_DIR = Path(env.str("WBCLAB_MODEL_DIR", default=str(BASE_DIR / "classifier" / "weights")))

if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "wbclab",
            # A counter must never keep a request waiting.
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
        }
    }

CELERY_BROKER_URL = REDIS_URL or None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "classify"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# The broker is a doorbell: a caller must never wait for one that is away.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5}

# --- REST -----------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "specimens.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "specimens.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Token",
    "TOKEN_TTL": timedelta(days=env.int("WBCLAB_TOKEN_DAYS", default=365)),
}
# Requests a minute for each token; counted in Redis for all processes, else in the one there is.
RATE_LIMIT = env.int("WBCLAB_RATE_LIMIT", default=6000)
IDEMPOTENCY_HOURS = env.int("WBCLAB_IDEMPOTENCY_HOURS", default=24)
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "wbclab",
    "DESCRIPTION": (
        "White-blood-cell differential. For research and assistance: a person verifies each cell."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "HealthState": "specimens.api.serializers.HEALTH_STATES",
        "ReceivedStatus": "specimens.api.v1.cells.FATES",
    },
}
