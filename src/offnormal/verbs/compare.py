"""offnormal compare: several evaluations of the same data -> one table, one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from offnormal.comparison import Comparison, Contender, compare_runs
from offnormal.config.score import CompareConfig
from offnormal.files import explained, write_text
from offnormal.report.compare_page import render_comparison
from offnormal.report.compare_table import markdown
from offnormal.run import Run, new_run
from offnormal.video_evaluation import operation_json


def compare(paths: Sequence[str | Path], config: CompareConfig) -> tuple[Comparison, Run]:
    """Compare runs and write comparison.json, comparison.md and report.html; errors as of `compare_runs`."""
    comparison = compare_runs(paths, combine=config.combine, merge_gap_s=config.rules.merge_gap)
    if config.out is None:
        run = new_run(Path("runs"), "compare")
    else:
        with explained(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
        run = Run(config.out)
    text = json.dumps(comparison_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(run.path / "comparison.json", text + "\n")
    write_text(run.path / "comparison.md", markdown(comparison))
    write_text(run.path / "report.html", render_comparison(comparison))
    return comparison, run


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """What comparison.json holds."""
    return {
        "data": {"name": comparison.data, "kind": comparison.kind, "fingerprint": comparison.fingerprint},
        "common": comparison.common.count,
        "metrics": list(comparison.metrics),
        "missing": comparison.missing,
        "best": comparison.best,
        "intervals": {
            "unit": comparison.unit,
            "units": comparison.units,
            "draws": comparison.draws,
            "seed": comparison.seed,
        },
        "runs": [_row_json(row) for row in comparison.rows],
        "options": comparison.options,
    }


def _row_json(row: Contender) -> dict[str, Any]:
    run = row.run
    return {
        "letter": row.letter,
        "name": row.name,
        "path": None if run is None else str(run.path),
        "detector": None if run is None else run.detector,
        "bundle": None if run is None else run.bundle,
        "scored": row.scored,
        "not_scored": row.not_scored,
        "left_out": row.left_out,
        "metrics": row.metrics,
        "pixel_metrics_of_its_own_evaluation": row.pixel,
        "difference_to_first": {
            name: {**asdict(found), "noise": found.noise} for name, found in row.differences.items()
        },
        "AUC_by_part": row.breakdown,
        "threshold": row.threshold,
        "operation": None if row.operation is None else operation_json(row.operation),
        "confusion": None if row.confusion is None else asdict(row.confusion),
        "accuracy": [asdict(part) for part in row.accuracy],
        "seconds_per_frame": row.seconds_per_frame,
        "bundle_bytes": row.bundle_bytes,
    }
