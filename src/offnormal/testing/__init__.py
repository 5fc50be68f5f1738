"""Public checks for plug-ins: the contracts of detectors, layouts, and sinks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offnormal.testing.detector import check_detector
    from offnormal.testing.layout import check_layout
    from offnormal.testing.sink import check_sink

__all__ = ["check_detector", "check_layout", "check_sink"]

_MODULES = {
    "check_detector": "offnormal.testing.detector",
    "check_layout": "offnormal.testing.layout",
    "check_sink": "offnormal.testing.sink",
}


def __getattr__(name: str) -> object:
    """Import a check on first use, because each needs packages that the others do not."""
    if name not in _MODULES:
        raise AttributeError(f"module 'offnormal.testing' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
