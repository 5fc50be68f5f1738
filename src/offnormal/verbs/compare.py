"""offnormal compare: several evaluations of the same data -> one table, one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from offnormal.config.score import CompareConfig
from offnormal.evaluation.compare import Comparison, compare_runs, comparison_json
from offnormal.events.machine import EventRules
from offnormal.files import check_outputs, explain_write_errors, write_text
from offnormal.report.compare import render_comparison
from offnormal.report.compare_table import markdown
from offnormal.run import Run, new_run

_FILES = ("comparison.json", "comparison.md", "report.html")


def compare(paths: Sequence[str | Path], config: CompareConfig) -> tuple[Comparison, Run]:
    """Compare runs and write comparison.json, comparison.md, and report.html; errors as of `compare_runs`.

    Raises UsageError if `out` is one of the runs, whose report would be replaced.
    """
    if config.out is not None:
        inputs = [file for path in paths if Path(path).is_dir() for file in Path(path).iterdir() if file.is_file()]
        check_outputs([("--out", config.out / name) for name in _FILES], inputs)
    rules, hysteresis = EventRules.from_config(config.rules), config.rules.hysteresis
    comparison = compare_runs(
        paths, combine=config.combine, exclude_known=config.exclude_known, rules=rules, hysteresis=hysteresis
    )
    if config.out is None:
        run = new_run(Path("runs"), "compare")
    else:
        with explain_write_errors(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
        run = Run(config.out)
    text = json.dumps(comparison_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(run.path / "comparison.json", text + "\n")
    write_text(run.path / "comparison.md", markdown(comparison))
    write_text(run.path / "report.html", render_comparison(comparison))
    return comparison, run
