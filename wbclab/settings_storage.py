"""Settings of where files lie, in folders or buckets, and for how long they are kept."""

from pathlib import Path
from typing import Any

import environ

from wbclab.environment import BASE_DIR, HOME, env

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
if not isinstance(RETENTION, dict):
    raise environ.ImproperlyConfigured('WBCLAB_RETENTION: write {"site": {"images_days": N}}.')
for _site, _rule in RETENTION.items():
    _days = _rule.get("images_days") if isinstance(_rule, dict) and len(_rule) == 1 else None
    if type(_days) is not int or _days < 1:
        text = f'WBCLAB_RETENTION: "{_site}" must be {{"images_days": N}} with N of 1 or more.'
        raise environ.ImproperlyConfigured(text)
# Names carry no digest (ES modules import each other by their own names), so browsers ask each time
# whether a file has changed; the answer is an empty 304.
WHITENOISE_MAX_AGE = 0
# Data sets on their way in, and the bodies of large requests: on disk, not in a memory file system.
INCOMING_DIR = Path(env.str("WBCLAB_INCOMING_DIR", default=str(HOME / "incoming")))
INCOMING_DIR.mkdir(parents=True, exist_ok=True)
FILE_UPLOAD_TEMP_DIR = INCOMING_DIR
