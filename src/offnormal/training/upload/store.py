"""A place that files are uploaded to, behind fsspec."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from offnormal.errors import ConfigError
from offnormal.redact import is_redacted, redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# of stores without folders, where making one could make a bucket that somebody mistyped
_FLAT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "cos", "r2"}
_EXTRAS = {"s3": "offnormal[s3]", "s3a": "offnormal[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Store:
    """Files below an address. Its methods raise whatever the store's library does.

    Raises ConfigError for an address that cannot be used, with what to do; whether it answers is not asked.
    """

    def __init__(self, url: str) -> None:
        self.address = redact(url).rstrip("/")  # may be shown
        protocol, _, rest = url.partition("://")
        protocol = protocol.partition("::")[0]
        if not rest:
            raise ConfigError(f"{self.address}: expected an address such as s3://bucket/prefix or file:///backup")
        if is_redacted(url):
            raise ConfigError(f"{url}: the login in it was not kept; give --upload with the whole address again")
        if protocol in _FLAT and not rest.strip("/"):
            raise ConfigError(f"{self.address}: no bucket is named; expected {protocol}://bucket/prefix")
        self._refuse_unknown(protocol)
        self._url, self._folders = url, protocol not in _FLAT

    def _refuse_unknown(self, protocol: str) -> None:
        import fsspec

        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            package = _EXTRAS.get(protocol, "")
            advice = f"pip install '{package}'" if package else redact(str(error))
            raise ConfigError(f"{self.address}: the package for {protocol}:// is not installed; {advice}") from None
        except ValueError as error:
            known = "s3, gs, az, sftp, file and others that fsspec names"
            raise ConfigError(f"{self.address}: {redact(str(error))}; expected one of {known}") from None

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        """Connects, for some kinds of stores."""
        import fsspec

        return fsspec.core.url_to_fs(self._url)[0]

    @cached_property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(self._url)).rstrip("/")

    def put(self, file: Path, name: str) -> None:
        """Upload a file under a name with forward slashes; what was there is replaced."""
        self._fs.put_file(str(file), self._place(name))

    def write(self, name: str, data: bytes) -> None:
        """Upload bytes."""
        self._fs.pipe_file(self._place(name), data)

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

    def _place(self, name: str) -> str:
        path = f"{self._root}/{name}"
        if self._folders:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        return path

    def _tidy(self, folder: str) -> None:
        """Remove folders that have become empty, upwards."""
        while len(folder) > len(self._root):
            try:
                self._fs.rmdir(folder)
            except OSError:  # not empty
                return
            folder = folder.rpartition("/")[0]
