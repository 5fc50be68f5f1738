"""An object store or file system that files are uploaded to, through fsspec."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from offnormal.errors import ConfigError
from offnormal.redact import is_redacted, redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# stores without folders; creating one could create a mistyped bucket
_FLAT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "cos", "r2"}
_EXTRAS = {"s3": "offnormal[s3]", "s3a": "offnormal[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Store:
    """Files below an address. The methods raise the errors of the store's library.

    Raises ConfigError with advice for an address that cannot be used; does not connect yet.
    """

    def __init__(self, url: str) -> None:
        self.address = redact(url).rstrip("/")  # without secrets
        protocol, _, path = url.partition("://")
        protocol = protocol.partition("::")[0]
        if not path:
            raise ConfigError(f"{self.address}: expected a URL such as s3://bucket/prefix or file:///backup")
        if is_redacted(url):
            raise ConfigError(f"{url}: its login was not stored; give --upload with the complete URL again")
        if protocol in _FLAT and not path.strip("/"):
            raise ConfigError(f"{self.address}: no bucket found; expected {protocol}://bucket/prefix")
        self._check_protocol(protocol)
        self._url, self._folders = url, protocol not in _FLAT

    def _check_protocol(self, protocol: str) -> None:
        import fsspec

        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            package = _EXTRAS.get(protocol, "")
            advice = f"pip install '{package}'" if package else redact(str(error))
            raise ConfigError(f"{self.address}: the package for {protocol}:// is not installed: {advice}") from None
        except ValueError as error:
            expected = "s3, gs, az, sftp, file, or another protocol of fsspec"
            raise ConfigError(f"{self.address}: {redact(str(error))}; expected {expected}") from None

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        """The file system; some stores connect here."""
        import fsspec

        return fsspec.core.url_to_fs(self._url)[0]

    @cached_property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(self._url)).rstrip("/")

    def put(self, file: Path, name: str) -> None:
        """Upload a file to a name with forward slashes; replaces an earlier file."""
        self._fs.put_file(str(file), self._create_path(name))

    def write(self, name: str, data: bytes) -> None:
        """Upload bytes to a name."""
        self._fs.pipe_file(self._create_path(name), data)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it does not exist."""
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        try:
            self._fs.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        if self._folders:
            self._remove_empty(f"{self._root}/{name}".rpartition("/")[0])

    def _create_path(self, name: str) -> str:
        path = f"{self._root}/{name}"
        if self._folders:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        return path

    def _remove_empty(self, folder: str) -> None:
        """Remove empty folders, from `folder` upward."""
        while len(folder) > len(self._root):
            try:
                self._fs.rmdir(folder)
            except OSError:  # not empty
                return
            folder = folder.rpartition("/")[0]
