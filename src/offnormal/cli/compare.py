"""offnormal compare RUN RUN ..."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from offnormal.config import CompareConfig, build, given_flags

if TYPE_CHECKING:
    from rich.table import Table

    from offnormal.comparison import Comparison


def command(
    *runs: Path,
    options: Annotated[CompareConfig | None, Parameter(name="*")] = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Hold several evaluations of the same data side by side: one table, one page.

    Parameters
    ----------
    runs
        Folders of runs (or evaluations) of the same test data; the others are held against the first.
    config
        YAML file with the same keys; flags win.
    json
        Print the comparison as one JSON object.
    """
    from offnormal.cli.show import say, say_json
    from offnormal.report.compare_table import counts, detector, groups, reading
    from offnormal.verbs.compare import compare, comparison_json

    comparison, made = compare(runs, build(CompareConfig, given_flags(options), file=config))
    if json:
        say_json({"run": made.path, **comparison_json(comparison)})
        return 0
    say(f"{comparison.data}: {comparison.common.count:,} {_unit(comparison)} that every run scored")
    for row in comparison.rows:
        known = f" ({detector(row)})" if row.run is not None and row.run.detector else ""
        say(f"{row.letter}  {row.name}{known}: {counts(comparison, row)}")
    say()
    if groups(comparison):
        _print(as_table(comparison))
        say()
    for line in reading(comparison):
        say(line)
    say(f"report          {made.path / 'report.html'}")
    return 0


def as_table(comparison: Comparison) -> Table:
    """Every figure of the comparison, a column a run."""
    from rich.table import Table
    from rich.text import Text

    from offnormal.report.compare_table import Cell, groups

    def shown(cell: Cell) -> Text:
        mark = "*" if cell.best else "~" if cell.noise else " "
        return Text(f"{cell.text} {mark}" + (f"\n{cell.below}  " if cell.below else ""))

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    table.add_column("", no_wrap=True)
    for row in comparison.rows:
        table.add_column(Text(f"{row.letter}  "), justify="right", no_wrap=True)
    for place, group in enumerate(groups(comparison)):
        if place:
            table.add_row("")
        table.add_row(Text(group.title))
        for column in group.columns:
            table.add_row(Text(f"  {column.name}"), *(shown(cell) for cell in column.cells))
    return table


def _print(table: Table) -> None:
    """The table as it is wide, whatever the terminal is: folded figures are hard to read."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=1000, no_color=True, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _unit(comparison: Comparison) -> str:
    return "frames" if comparison.kind == "videos" else "pictures"
