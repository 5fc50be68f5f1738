"""Public checks for plug-ins: what everything registered under a name keeps to."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offnormal.testing.detector import check_detector
    from offnormal.testing.layout import check_layout
    from offnormal.testing.sink import check_sink

__all__ = ["check_detector", "check_layout", "check_sink"]

_HOMES = {
    "check_detector": "offnormal.testing.detector",
    "check_layout": "offnormal.testing.layout",
    "check_sink": "offnormal.testing.sink",
}


def __getattr__(name: str) -> object:
    """Import a check when it is first used: each needs only what it checks."""
    if name not in _HOMES:
        raise AttributeError(f"module 'offnormal.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
