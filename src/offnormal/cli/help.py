"""Help pages: the flags that most people need, with `--help-all` every flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve
from cyclopts.help import DefaultFormatter

from offnormal.cli.flags import is_advanced

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions


class HelpFormatter(DefaultFormatter):
    """Help pages of cyclopts without the panels of rarely needed flags, unless show_all is set, and with less noise.

    A switch that is off by default is shown without its negative name, an empty default is not shown, and a
    repeatable flag takes one value: STR instead of STR... .
    """

    def __init__(self, *, show_all: bool) -> None:
        super().__init__()
        self._show_all = show_all

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel, unless only `--help-all` shows it."""
        if self._show_all or not is_advanced(str(panel.title)):
            super().__call__(console, options, panel.copy(entries=[_plain(entry) for entry in panel.entries]))


def _plain(entry: Any) -> Any:
    entry = evolve(entry, metavar=entry.metavar and entry.metavar.removesuffix("..."))
    if entry.default in ("False", '""'):
        return evolve(entry, negative_names=(), default=None)
    return entry if entry.default == "True" else evolve(entry, negative_names=())
