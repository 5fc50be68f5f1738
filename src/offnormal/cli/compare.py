"""offnormal compare RUN RUN ..."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import CompareConfig

if TYPE_CHECKING:
    from offnormal.evaluation.compare import Comparison


@takes_flags(CompareConfig)
def command(
    *runs: Path,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Compare evaluations of the same test set in one table and one report.

    Parameters
    ----------
    runs
        Run folders evaluated on the same test set; the first is the baseline.
    config
        YAML file with settings, named like the flags; flags win.
    json
        Print the comparison as one JSON object.
    """
    from offnormal.cli.show import WIDTH, aligned, say, say_json, warn
    from offnormal.evaluation.compare import comparison_json
    from offnormal.evaluation.units import TRAITS
    from offnormal.report.compare_table import counts, detector, explanations, groups
    from offnormal.verbs.compare import compare

    comparison, run = compare(runs, build(CompareConfig, set_values(options), file=config))
    for note in comparison.notes:
        warn(note)
    if json:
        say_json({"run": run.path, **comparison_json(comparison)})
        return 0
    noun = TRAITS[comparison.unit].noun[1]
    say(f"{comparison.data}: {comparison.common:,} {noun} that every run scored")
    for row in comparison.rows:
        description = f" ({detector(row, comparison.options)})" if row.run is not None and row.run.detector else ""
        say(f"{row.letter}  {row.name}{description}: {counts(comparison, row)}")
    say()
    if groups(comparison):
        for line in as_text(comparison):
            say(line)
        say()
    for text in explanations(comparison):
        say(textwrap.fill(text, WIDTH))
    if comparison.options:
        say()
        say("Different options")
        for line in aligned((f"  {name}", _by_run(values)) for name, values in comparison.options.items()):
            say(line)
    say(f"report          {run.path / 'report.html'}")
    return 0


def _by_run(values: Mapping[str, str]) -> str:
    """The value of an option in each run that has it."""
    return "; ".join(f"{letter} {value}" for letter, value in values.items())


def as_text(comparison: Comparison) -> list[str]:
    """Return every figure of the comparison as aligned lines, one column per run; lines may exceed 80 columns."""
    from offnormal.report.compare_table import groups

    rows: list[list[str]] = [["", *(f"{row.letter}  " for row in comparison.rows)]]
    for group in groups(comparison):
        rows += [[], [group.title]]
        for column in group.columns:
            rows.append([f"  {column.name}", *(f"{cell.text} {cell.mark or ' '}" for cell in column.cells)])
            if any(cell.below for cell in column.cells):
                rows.append(["", *(f"{cell.below}  " for cell in column.cells)])
    first = max(len(row[0]) for row in rows if row)
    width = max(len(cell) for row in rows for cell in row[1:])
    aligned = [[*(name.ljust(first) for name in row[:1]), *(cell.rjust(width + 2) for cell in row[1:])] for row in rows]
    return ["".join(row).rstrip() for row in aligned]
