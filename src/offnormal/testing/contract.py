"""Shared by the checks of detectors, layouts, and sinks: registered names, and notes on failed checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from offnormal import registry
from offnormal.errors import ConfigError

CaseT = TypeVar("CaseT")


def registered_name(kind: registry.Kind, plugin: str | type) -> str:
    """Registered name of a class of a kind ("detectors", ...), or the name itself; ConfigError if not registered."""
    if isinstance(plugin, str):
        return plugin
    for name, registered in registry.resolve_all(kind).items():
        if registered is plugin:
            return name
    raise ConfigError(
        f"{plugin.__name__} is not registered: add it to the entry points [offnormal.{kind}] of its package, and "
        "install the package"
    )


def run_checks(checks: Iterable[Callable[[CaseT], None]], case: CaseT, description: str) -> None:
    """Run each check; a failure gets a note with the check's name and its requirement."""
    for check in checks:
        try:
            check(case)
        except Exception as error:
            error.add_note(f"{check.__name__.lstrip('_')} of {description}: {check.__doc__}")
            raise
