"""Settings of what an installation shows of itself: metrics and logs."""

import environ

from wbclab.environment import env

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
