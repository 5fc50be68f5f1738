"""Warnings about files that are logged once per run."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class OnceLog:
    """Logs the first warning of each kind; the kind is the text before the colon."""

    def __init__(self) -> None:
        self._logged: dict[str, str] = {}

    def warn(self, path: Path, warning: str) -> None:
        """Log a warning about a file, unless one of its kind was logged for another file."""
        line = f"{path}: {warning}"
        if self._logged.setdefault(warning.partition(":")[0], line) is line:  # atomic: several threads read images
            log.warning("%s; this warning is not repeated for other files", line)
