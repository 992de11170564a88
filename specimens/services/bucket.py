"""Images in S3-compatible storage. The bucket is private; nobody is ever given an address in it."""

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage


class BucketStorage(S3Storage):
    """A bucket behind the same names as the folder.

    The store answers a write when it is durable, and shows an object whole or not at all. Its
    failures are OSError here, as those of a disk are: senders are told to come again.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # A request waits for it: one that is away is told so while the sender still listens.
        bounds = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})
        self.client_config: Config = self.client_config.merge(bounds)

    def _save(self, name: str, content: "File[bytes]") -> str:
        try:
            return str(super()._save(name, content))
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.bucket_name} cannot be written") from error

    def _open(self, name: str, mode: str = "rb") -> Any:
        try:
            opened = super()._open(name, mode)
            opened.file  # noqa: B018 - fetched now, so that what is missing is missing here
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.bucket_name} cannot be read") from error
        return opened

    def exists(self, name: str) -> bool:
        """Tell whether the object is there."""
        try:
            return bool(super().exists(name))
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.bucket_name} cannot be read") from error

    def delete(self, name: str) -> None:
        """Remove the object, if it is there."""
        try:
            super().delete(name)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.bucket_name} cannot be written") from error

    def url(self, *_: Any, **__: Any) -> str:
        """Refuse: pictures go out through views that ask who looks."""
        raise NotImplementedError("images have no address of their own")
