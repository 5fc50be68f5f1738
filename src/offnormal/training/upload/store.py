"""A place that files are uploaded to, behind fsspec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from offnormal.errors import ConfigError
from offnormal.urls import redacted, without_login

# of stores without folders, where making one could make a bucket that somebody mistyped
_FLAT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "cos", "r2"}
_EXTRAS = {"s3": "offnormal[s3]", "s3a": "offnormal[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Store:
    """Files below an address. Its methods raise whatever the store's library does.

    Raises ConfigError for an address that cannot be used, with what to do; whether it answers is not asked.
    """

    def __init__(self, url: str) -> None:
        self.address = redacted(url).rstrip("/")  # may be shown
        protocol = url.partition("://")[0].split("::")[0] if "://" in url else ""
        if not protocol:
            raise ConfigError(f"{self.address}: expected an address such as s3://bucket/prefix or file:///backup")
        if without_login(url):
            raise ConfigError(f"{url}: the login in it was not kept; give --upload with the whole address again")
        self._root, self._fs = self._opened(url, protocol)
        self._folders = protocol not in _FLAT

    def _opened(self, url: str, protocol: str) -> tuple[str, Any]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            package = _EXTRAS.get(protocol, "")
            advice = f"pip install '{package}'" if package else redacted(str(error))
            raise ConfigError(f"{self.address}: the package for {protocol}:// is not installed; {advice}") from None
        except ValueError as error:
            known = "s3, gs, az, sftp, file and others that fsspec names"
            raise ConfigError(f"{self.address}: {redacted(str(error))}; expected one of {known}") from None
        root = str(root).rstrip("/")
        if protocol in _FLAT and not root.strip("/"):
            raise ConfigError(f"{self.address}: no bucket is named; expected {protocol}://bucket/prefix")
        return root, system

    def put(self, file: Path, name: str) -> None:
        """Upload a file under a name with forward slashes; what was there is replaced."""
        path = f"{self._root}/{name}"
        if self._folders:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.put_file(str(file), path)

    def write(self, name: str, data: bytes) -> None:
        """Upload bytes."""
        path = f"{self._root}/{name}"
        if self._folders:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, data)

    def read(self, name: str) -> bytes | None:
        """What lies there; None when nothing does."""
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._fs.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        if self._folders:
            self._tidy(f"{self._root}/{name}".rpartition("/")[0])

    def _tidy(self, folder: str) -> None:
        try:
            self._fs.rmdir(folder)
        except OSError:  # not empty yet
            return
