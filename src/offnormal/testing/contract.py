"""What the checks of detectors, layouts, and sinks share: the name under which a class is registered, and the notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from offnormal import registry
from offnormal.errors import ConfigError

CaseT = TypeVar("CaseT")


def registered_name(kind: registry.Kind, found: str | type) -> str:
    """The name of a class of a kind ("detectors", ...); a name is itself. ConfigError where it is not registered."""
    if isinstance(found, str):
        return found
    for name, known in registry.resolve_all(kind).items():
        if known is found:
            return name
    raise ConfigError(
        f"{found.__name__} is not registered: add it to the entry points [offnormal.{kind}] of its package, and "
        "install that"
    )


def run_checks(checks: Iterable[Callable[[CaseT], None]], case: CaseT, description: str) -> None:
    """Run each check; its error gets a note that says which check of what failed, and what the check demands."""
    for check in checks:
        try:
            check(case)
        except Exception as error:
            error.add_note(f"{check.__name__.lstrip('_')} of {description}: {check.__doc__}")
            raise
