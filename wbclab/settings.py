"""The one settings file. What a site may change comes from the environment (docs/deployment.md).

Without any configuration this is the embedded mode: SQLite and images under WBCLAB_HOME, one worker
process beside the web server, no broker. With WBCLAB_DATABASE_URL and WBCLAB_REDIS_URL it is the
production mode: PostgreSQL, Redis, Celery. A value that cannot be read fails at start, by name.
"""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ

from specimens.interop.fhir.naming import systems_problem

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()

HOME = Path(env.str("WBCLAB_HOME", default=str(BASE_DIR / "var"))).resolve()
HOME.mkdir(parents=True, exist_ok=True)
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

# --- time, language, static files, images ---------------------------------------------------------
USE_TZ = True
TIME_ZONE = env.str("WBCLAB_TIME_ZONE", default="UTC")
LANGUAGE_CODE = "en"
USE_I18N = False
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("WBCLAB_STATIC_ROOT", default=str(HOME / "static")))
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = Path(env.str("WBCLAB_IMAGES_DIR", default=str(HOME / "images")))
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "specimens.services.storage.DurableStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}


def _bucket(name: str) -> dict[str, Any]:
    """Return the storage that is the bucket `name`; all buckets have one endpoint and one key."""
    options = {
        "bucket_name": name,
        "endpoint_url": env.str("WBCLAB_S3_ENDPOINT", default="") or None,
        "region_name": env.str("WBCLAB_S3_REGION", default="us-east-1"),
        "access_key": env.str("WBCLAB_S3_ACCESS_KEY", default="") or None,
        "secret_key": env.str("WBCLAB_S3_SECRET_KEY", default="") or None,
        "file_overwrite": False,
        "addressing_style": "path" if env.str("WBCLAB_S3_ENDPOINT", default="") else "auto",
    }
    return {"BACKEND": "specimens.services.bucket.BucketStorage", "OPTIONS": options}


if _images_bucket := env.str("WBCLAB_IMAGES_S3_BUCKET", default=""):
    STORAGES["default"] = _bucket(_images_bucket)
if _archive_bucket := env.str("WBCLAB_ARCHIVE_S3_BUCKET", default=""):
    STORAGES["archive"] = _bucket(_archive_bucket)
elif _archive_dir := env.str("WBCLAB_ARCHIVE_DIR", default=""):
    _folder = {"location": _archive_dir}
    STORAGES["archive"] = STORAGES["default"] | {"OPTIONS": _folder}
# What lies in a bucket or in the archive is fetched here to be decoded.
IMAGE_CACHE_DIR = Path(env.str("WBCLAB_IMAGE_CACHE_DIR", default=str(HOME / "cache")))
IMAGE_CACHE_MB = env.int("WBCLAB_IMAGE_CACHE_MB", default=1024)
# Days after the last signature, by code of the site, "*" for all others; {} removes nothing.
RETENTION: dict[str, dict[str, int]] = env.json("WBCLAB_RETENTION", default={})
for _site, _rule in RETENTION.items():
    if not isinstance(_rule, dict) or set(_rule) != {"images_days"} or _rule["images_days"] < 1:
        text = f'WBCLAB_RETENTION: "{_site}" must be {{"images_days": N}} with N of 1 or more.'
        raise environ.ImproperlyConfigured(text)
# Names carry no digest (ES modules import each other by their own names), so browsers ask each time
# whether a file has changed; the answer is an empty 304.
WHITENOISE_MAX_AGE = 0
# --- uploads --------------------------------------------------------------------------------------
PREDICT_BATCH_LIMIT = env.int("WBCLAB_PREDICT_BATCH_LIMIT", default=10)
UPLOAD_BATCH_LIMIT = 100  # files in one request of the portal; the page splits larger drops
DATA_UPLOAD_MAX_NUMBER_FILES = 2 * max(UPLOAD_BATCH_LIMIT, PREDICT_BATCH_LIMIT)
PREDICT_WAIT_SECONDS = env.float("WBCLAB_PREDICT_WAIT_SECONDS", default=2.0)
INFER_WAIT_SECONDS = env.float("WBCLAB_INFER_WAIT_SECONDS", default=30.0)
PUBLIC_PREDICT = env.bool("WBCLAB_PUBLIC_PREDICT", default=False)

# --- DICOM network --------------------------------------------------------------------------------
DICOM_AE_TITLE = env.str("WBCLAB_DICOM_AE_TITLE", default="WBCLAB")
DICOM_HOST = env.str("WBCLAB_DICOM_HOST", default="127.0.0.1")
DICOM_PORT = env.int("WBCLAB_DICOM_PORT", default=11112)
# Who may call: AE titles, each with =SITE where its images belong to another site than the usual.
DICOM_PEERS = env.list("WBCLAB_DICOM_PEERS", default=[])
DICOM_SITE = env.str("WBCLAB_DICOM_SITE", default="")
DICOM_TLS_CERTIFICATE = env.str("WBCLAB_DICOM_TLS_CERTIFICATE", default="")
DICOM_TLS_KEY = env.str("WBCLAB_DICOM_TLS_KEY", default="")
DICOM_TLS_CA = env.str("WBCLAB_DICOM_TLS_CA", default="")
DICOM_ASSOCIATIONS = env.int("WBCLAB_DICOM_ASSOCIATIONS", default=16)
DICOM_IDLE_SECONDS = env.float("WBCLAB_DICOM_IDLE_SECONDS", default=30.0)
DICOM_INSTANCE_MB = env.int("WBCLAB_DICOM_INSTANCE_MB", default=256)
DICOM_STOW_MB = env.int("WBCLAB_DICOM_STOW_MB", default=1024)
DICOM_PACS_SECONDS = env.float("WBCLAB_DICOM_PACS_SECONDS", default=120.0)
# Of a UID root of the laboratory's own; empty: UIDs are made from UUIDs (2.25).
DICOM_UID_ROOT = env.str("WBCLAB_DICOM_UID_ROOT", default="")
# What pseudonyms, shifted dates and replaced UIDs of de-identified sets follow from; empty: the
# secret key. Another one gives every patient another pseudonym.
DEIDENTIFICATION_SECRET = env.str("WBCLAB_DEIDENTIFICATION_SECRET", default="")
SOFTWARE_VERSION = env.str("WBCLAB_VERSION", default="unreleased")
# Data sets on their way in, and the bodies of large requests: on disk, not in a memory file system.
INCOMING_DIR = Path(env.str("WBCLAB_INCOMING_DIR", default=str(HOME / "incoming")))
INCOMING_DIR.mkdir(parents=True, exist_ok=True)
FILE_UPLOAD_TEMP_DIR = INCOMING_DIR

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

# --- deliveries to other systems ------------------------------------------------------------------
DELIVERY_MAX_ATTEMPTS = env.int("WBCLAB_DELIVERY_MAX_ATTEMPTS", default=20)
DELIVERY_BACKOFF_SECONDS = env.float("WBCLAB_DELIVERY_BACKOFF_SECONDS", default=2.0)
DELIVERY_BACKOFF_CAP_SECONDS = env.float("WBCLAB_DELIVERY_BACKOFF_CAP_SECONDS", default=300.0)
# Names, addresses and networks that may be called although they are not public.
DELIVERY_ALLOWED_HOSTS = env.list("WBCLAB_DELIVERY_ALLOWED_HOSTS", default=[])
DELIVERY_SECRETS_DIR = env.str("WBCLAB_DELIVERY_SECRETS_DIR", default="/run/secrets")
DELIVERY_DOORBELL_PATH = HOME / "deliveries-doorbell"

CELERY_BROKER_URL = REDIS_URL or None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "classify"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# The broker is a doorbell: a caller must never wait for one that is away.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5}

# --- HL7 v2 over MLLP -----------------------------------------------------------------------------
HL7_HOST = env.str("WBCLAB_HL7_HOST", default="127.0.0.1")
HL7_PORT = env.int("WBCLAB_HL7_PORT", default=2575)
HL7_SITE = env.str("WBCLAB_HL7_SITE", default="")
HL7_USER = env.str("WBCLAB_HL7_USER", default="integration")
HL7_CHARSET = env.str("WBCLAB_HL7_CHARSET", default="UNICODE UTF-8")
HL7_PROCESSING_ID = env.str("WBCLAB_HL7_PROCESSING_ID", default="P")
HL7_OWN_ISSUER = env.str("WBCLAB_HL7_OWN_ISSUER", default="")
HL7_PEERS = env.list("WBCLAB_HL7_PEERS", default=[])
HL7_MESSAGE_BYTES = env.int("WBCLAB_HL7_MESSAGE_BYTES", default=1_000_000)
HL7_CONNECTIONS = env.int("WBCLAB_HL7_CONNECTIONS", default=64)
HL7_IDLE_SECONDS = env.float("WBCLAB_HL7_IDLE_SECONDS", default=600.0)
HL7_MESSAGE_SECONDS = env.float("WBCLAB_HL7_MESSAGE_SECONDS", default=30.0)
HL7_TLS_CERTIFICATE = env.str("WBCLAB_HL7_TLS_CERTIFICATE", default="")
HL7_TLS_KEY = env.str("WBCLAB_HL7_TLS_KEY", default="")
HL7_TLS_CLIENT_CA = env.str("WBCLAB_HL7_TLS_CLIENT_CA", default="")

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
# URIs of identifiers in FHIR, where they differ from the defaults (docs/integration.md).
FHIR_SYSTEMS = env.json("WBCLAB_FHIR_SYSTEMS", default={})
if _problem := systems_problem(FHIR_SYSTEMS):
    raise environ.ImproperlyConfigured(f"WBCLAB_FHIR_SYSTEMS: {_problem}")
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

# --- metrics --------------------------------------------------------------------------------------
# What Prometheus shows to be let in; empty: there is no /metrics.
METRICS_TOKEN = env.str("WBCLAB_METRICS_TOKEN", default="")
if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
    raise environ.ImproperlyConfigured("WBCLAB_METRICS_TOKEN must have 16 characters or more.")

# --- logging --------------------------------------------------------------------------------------
LOG_FORMAT = env.str("WBCLAB_LOG_FORMAT", default="console")
if LOG_FORMAT not in ("console", "json"):
    raise environ.ImproperlyConfigured("WBCLAB_LOG_FORMAT must be console or json.")
SLOW_QUERY_SECONDS = env.float("WBCLAB_SLOW_QUERY_SECONDS", default=1.0)
LOGGING_CONFIG = "wbclab.logs.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"lines": {"()": "wbclab.logs.formatter", "as_json": LOG_FORMAT == "json"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "root": {"handlers": ["console"], "level": env.str("WBCLAB_LOG_LEVEL", default="INFO")},
    "loggers": {
        # Lines of their own of each request, with its address: wbclab.request_log writes ours.
        "django.server": {"propagate": False, "handlers": []},
        "uvicorn.access": {"propagate": False, "handlers": []},
        "uvicorn": {"propagate": True, "handlers": []},
        "django.request": {"level": "ERROR"},
        # Below a warning they repeat what passes through them: parameters, headers, data sets.
        **{
            name: {"level": "WARNING"}
            for name in (
                *("django.db", "django.template", "httpx", "httpcore", "pynetdicom", "pydicom"),
                *("axes", "hl7", "botocore", "boto3", "s3transfer", "urllib3", "PIL"),
            )
        },
    },
}
