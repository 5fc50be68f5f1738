"""Comparison of several evaluations of the same data, on the units that all of them scored.

Metrics are computed again from the scores of these units, so that no run benefits from skipping hard ones. Differences
from the first run have 95 % intervals from a bootstrap over whole videos (groups, items), with the same draws for all
runs; if an interval contains 0, the difference may be noise. `combined` sums the -log p-values of the runs, as in
Fisher's method for independent tests (Statistical Methods for Research Workers, 1925, sec. 21.1). Detectors on the same
frames are not independent, so the sum only ranks frames: it is not a p-value and has no calibrated threshold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import CalibrationError, DataError, UsageError, counted, name_some
from offnormal.evaluation.alarms import AlarmReport, report_alarms
from offnormal.evaluation.evaluate import decide
from offnormal.evaluation.shared_rows import DrawnUnits, common_tables, drawn_units
from offnormal.evaluation.stored import StoredEvaluation, read_evaluation, short_names
from offnormal.evaluation.table import ASSUMED_FPS, ScoreTable
from offnormal.evaluation.units import LOWER_IS_BETTER, TRAITS, measure
from offnormal.events.machine import EventRules, low_threshold
from offnormal.metrics import bootstrap, decision
from offnormal.metrics.decision import SplitRow
from offnormal.metrics.video import PER_VIDEO_NORM, frame_auc, min_max
from offnormal.types import Unit

_COMBINED = "combined"
_Draws = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of one run minus that of the first run."""

    value: float
    low: float | None  # 95 % interval; None: too few units
    high: float | None

    @property
    def noise(self) -> bool | None:
        """Whether the interval contains 0; None without an interval."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedRun:
    """One row of the comparison: a run, or all runs combined."""

    name: str
    letter: str
    run: StoredEvaluation | None  # None: combined
    table: ScoreTable  # common rows; scored only where all runs have a score
    scored: int  # rows that this run scored
    not_scored: int  # rows that this run did not score
    excluded: int  # rows that this run scored and another did not
    pixel: dict[str, float]  # from metrics.json, on all frames of this run
    threshold: float | None
    seconds_per_unit: float | None
    bundle_bytes: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    breakdown: dict[str, float | None] = field(default_factory=dict)  # AUC by video or by class
    alarms: AlarmReport | None = None  # of videos, at the threshold of this run
    confusion: decision.Confusion | None = None  # of images and clips, at the threshold of this run
    splits: tuple[SplitRow, ...] = ()  # decisions by split, for data with splits
    differences: dict[str, Difference] = field(default_factory=dict)  # from the first run, which has none itself


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Comparison of several runs with the first one."""

    unit: Unit
    data: str
    fingerprint: str
    rows: list[ComparedRun]
    metrics: tuple[str, ...]  # columns, as far as the labels allow
    missing: dict[str, str]  # metric -> reason
    best: dict[str, str]  # metric -> letter of the best row, if no other may be equal
    options: dict[str, dict[str, str]]  # option -> value by letter, for options that differ
    drawn: DrawnUnits
    draws: int
    seed: int
    notes: tuple[str, ...] = ()  # about the data

    @property
    def common(self) -> int:
        """Number of units that all runs scored."""
        return int(self.rows[0].table.scored.sum())


def compare_runs(
    paths: Sequence[str | Path],
    *,
    combine: bool = False,
    exclude_known: bool = False,
    rules: EventRules | None = None,
    hysteresis: float | None = None,
) -> Comparison:
    """Read runs and compare them with the first one on the units that all of them scored.

    combine: adds a row for the sum of -log p-values. exclude_known: leave out items that any of the detectors was
    trained on, or that its threshold was set on. rules: event rules; None: the default. hysteresis: where alarms
    end; None: as in each evaluation.
    Raises UsageError for fewer than two runs, duplicate runs, a run without an evaluation, and different units;
    DataError for runs on different data and for damaged files; CalibrationError for missing p-values with `combine`.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise UsageError(f"{len(folders) or 'no'} run; expected at least two: offnormal compare RUN RUN ...")
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(folders):
        if resolved.index(folder.resolve()) < number:
            raise UsageError(f"{folder}: duplicate run; name each run once")
    runs = [read_evaluation(folder) for folder in folders]
    _require_same_data(runs)
    used_names = {name for run in runs for name in run.reused}
    scored = [_without_items(run.table, used_names) if exclude_known else run.table for run in runs]
    tables = common_tables(scored, [str(run.path / "scores.csv") for run in runs])
    rows = [
        _create_row(run, table, number, name)
        for number, (run, table, name) in enumerate(zip(runs, tables, short_names(folders), strict=True))
    ]
    if combine:
        rows.append(_combine(rows))
    measured = [_measure_row(row, rules or EventRules(), hysteresis) for row in rows]
    comparison = _compare_rows([row for row, _ in measured], measured[0][1], runs)
    return replace(comparison, notes=_known_notes(comparison, exclude_known))


def _without_items(table: ScoreTable, names: Collection[str]) -> ScoreTable:
    """Return the table without the scores of some items."""
    excluded = table.repeat_by_item([item.name in names for item in table.items])
    return replace(table, score=np.where(excluded, np.nan, table.score))


def _known_notes(comparison: Comparison, is_excluded: bool) -> tuple[str, ...]:
    nouns = TRAITS[comparison.unit].item
    effect = "excluded from every figure" if is_excluded else "which biases its figures (--exclude-known)"
    return tuple(
        f"{row.letter}: {len(row.run.reused):,} of {counted(len(row.run.table.items), *nouns)} used for its training "
        f"or threshold, {effect}: {name_some(row.run.reused)}"
        for row in comparison.rows
        if row.run is not None and row.run.reused
    )


def differing_options(runs: Sequence[StoredEvaluation]) -> dict[str, dict[str, str]]:
    """Find options that differ between runs with a known detector: option -> value by letter of the run."""
    options_by_run = {_letter(number): run.options for number, run in enumerate(runs) if run.detector is not None}
    names = dict.fromkeys(name for options in options_by_run.values() for name in options)
    by_option = {
        name: {letter: options[name] for letter, options in options_by_run.items() if name in options} for name in names
    }
    return {
        name: values
        for name, values in by_option.items()
        if len(values) < len(options_by_run) or len(set(values.values())) > 1
    }


def _letter(number: int) -> str:
    """A, B, C ... in the order of the runs."""
    return chr(ord("A") + number) if number < 26 else f"R{number + 1}"


def _require_same_data(runs: Sequence[StoredEvaluation]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.table.unit is not first.table.unit:
            nouns = [TRAITS[scored.table.unit].noun[1] for scored in (first, run)]
            raise UsageError(f"{first.path} scores {nouns[0]}, {run.path} scores {nouns[1]}; expected runs of one unit")
        if run.fingerprint != first.fingerprint:
            raise DataError(
                f"{first.path} was evaluated on {first.data!r} (fingerprint {first.fingerprint[:12]}), {run.path} on "
                f"{run.data!r} ({run.fingerprint[:12]}); expected the same test files and labels. Evaluate both on the "
                f"same data: offnormal evaluate {run.path} --data DIR"
            )


def _create_row(run: StoredEvaluation, table: ScoreTable, number: int, name: str) -> ComparedRun:
    scored = int(run.table.scored.sum())
    return ComparedRun(
        name=name,
        letter=_letter(number),
        run=run,
        table=table,
        scored=scored,
        not_scored=len(run.table) - scored,
        excluded=scored - int(table.scored.sum()),
        pixel={metric: value for metric, value in run.metrics.items() if metric.startswith("pixel_")},
        threshold=run.threshold,
        seconds_per_unit=run.seconds_per_unit,
        bundle_bytes=run.bundle_bytes,
    )


def _combine(rows: Sequence[ComparedRun]) -> ComparedRun:
    scored = rows[0].table.scored
    uncalibrated = [
        str(row.run.path) for row in rows if row.run is not None and np.isnan(row.table.p_value[scored]).any()
    ]
    if uncalibrated:
        raise CalibrationError(
            f"{', '.join(uncalibrated)}: {TRAITS[rows[0].table.unit].noun[1]} without a p-value; expected one "
            "for each: run offnormal calibrate and offnormal evaluate again, or omit --combine"
        )
    scores = np.where(scored, -np.log(np.stack([row.table.p_value for row in rows])).sum(axis=0), np.nan)
    return replace(
        rows[0],
        name=_COMBINED,
        letter="+",
        run=None,
        table=replace(rows[0].table, score=scores),
        scored=int(scored.sum()),
        not_scored=0,
        excluded=0,
        pixel={},
        threshold=None,
        seconds_per_unit=_sum([row.seconds_per_unit for row in rows]),
        bundle_bytes=_sum([row.bundle_bytes for row in rows]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """Sum of values; None if any is unknown."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) if len(numbers) == len(values) else None


def _measure_row(row: ComparedRun, rules: EventRules, hysteresis: float | None) -> tuple[ComparedRun, dict[str, str]]:
    """Compute the metrics of a row and the decisions at its threshold, and the reasons for missing metrics."""
    table, threshold = row.table, row.threshold
    assumed = None if row.run is None else row.run.assumed_fps
    measured = measure(table, fps=assumed or ASSUMED_FPS)  # also the duration of a single frame
    alarms, decisions = None, decide(table, threshold)
    breakdown = {row.name: row.auroc for row in decisions.classes if row.is_anomalous}
    if measured.frames is not None:
        breakdown = {video.name: video.auc for video in measured.frames.videos}
        if threshold is not None and row.run is not None:
            low = row.run.low_threshold
            if hysteresis is not None and row.run.median_score is not None:
                low = low_threshold(threshold, row.run.median_score, hysteresis)
            alarms = report_alarms(measured.series, threshold, rules, low)
    result = replace(
        row,
        metrics=measured.metrics if measured.frames is None else measured.frames.distinct(measured.metrics),
        breakdown=breakdown,
        alarms=alarms,
        confusion=decisions.confusion,
        splits=tuple(decisions.splits),
    )
    return result, measured.missing


def _compare_rows(rows: list[ComparedRun], missing: dict[str, str], runs: Sequence[StoredEvaluation]) -> Comparison:
    first, columns = rows[0], tuple(rows[0].metrics)
    drawn = drawn_units(first.table)
    weights = bootstrap.draws(drawn.count) if columns and drawn.count > 1 else None
    draws: list[_Draws] = [{} if weights is None else _draw(row, columns, drawn, weights) for row in rows]
    compared = [first] + [
        replace(row, differences={name: _difference(row, first, name, row_draws, draws[0]) for name in columns})
        for row, row_draws in zip(rows[1:], draws[1:], strict=True)
    ]
    return Comparison(
        unit=first.table.unit,
        data=runs[0].data,
        fingerprint=runs[0].fingerprint,
        rows=compared,
        metrics=columns,
        missing=missing,
        best={name: letter for name in columns if (letter := _best(rows, draws, name)) is not None},
        options=differing_options(runs),
        drawn=drawn,
        draws=0 if weights is None else bootstrap.DRAWS,
        seed=bootstrap.SEED,
    )


def _draw(row: ComparedRun, columns: Sequence[str], drawn: DrawnUnits, weights: NDArray[np.float64]) -> _Draws:
    """Compute the metrics (draws,) of one row in every draw, as far as the draws allow."""
    table, names = row.table, TRAITS[row.table.unit].drawn
    rows, metrics = table.labeled, _Draws()
    for suffix in ("", PER_VIDEO_NORM):
        kind = [name for name in columns if name.endswith(PER_VIDEO_NORM) == bool(suffix)]
        plain = {name: name.removesuffix(PER_VIDEO_NORM) for name in kind}
        if not plain:
            continue
        scores = table.score
        if suffix:
            scores = np.concatenate([min_max(table.score[item.rows]) for item in table.items])
        values = bootstrap.drawn_metrics(table.label[rows], scores[rows], drawn.number[rows], weights)
        metrics |= {name: values[names[base]] for name, base in plain.items() if base in names}
        macro = "frame_AUC_macro" + suffix
        if macro in columns:  # of more than one video
            aucs = [_auc(table.label[video], scores[video]) for video in drawn.rows()]
            if np.isfinite(aucs).sum() > 1:
                metrics[macro] = bootstrap.drawn_mean(aucs, weights)
    return metrics


def _auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return frame_auc(labels, scores) if 0 in labels and 1 in labels else np.nan


def _difference(row: ComparedRun, first: ComparedRun, name: str, draws: _Draws, first_draws: _Draws) -> Difference:
    span = bootstrap.interval(draws[name] - first_draws[name]) if name in draws else None
    return Difference(row.metrics[name] - first.metrics[name], *(span or (None, None)))


def _best(rows: Sequence[ComparedRun], draws: Sequence[_Draws], name: str) -> str | None:
    """Letter of the row that is significantly better than every other; None if there is none."""
    sign = -1 if name in LOWER_IS_BETTER else 1
    top = max(range(len(rows)), key=lambda number: sign * rows[number].metrics[name])
    for number in range(len(rows)):
        if number == top:
            continue
        span = bootstrap.interval(sign * (draws[top][name] - draws[number][name])) if name in draws[top] else None
        if span is None or span[0] <= 0:
            return None
    return rows[top].letter


def comparison_json(comparison: Comparison) -> dict[str, object]:
    """Convert to plain values for comparison.json."""
    return {
        "data": {"name": comparison.data, "unit": comparison.unit.value, "fingerprint": comparison.fingerprint},
        "common": comparison.common,
        "metrics": list(comparison.metrics),
        "missing": comparison.missing,
        "notes": list(comparison.notes),
        "best": comparison.best,
        "intervals": {
            "drawn": comparison.drawn.noun,
            "units": comparison.drawn.count,
            "draws": comparison.draws,
            "seed": comparison.seed,
        },
        "runs": [_row_json(row) for row in comparison.rows],
        "options": comparison.options,
    }


def _row_json(row: ComparedRun) -> dict[str, object]:
    run = row.run
    return {
        "letter": row.letter,
        "name": row.name,
        "path": None if run is None else str(run.path),
        "detector": None if run is None else run.detector,
        "bundle": None if run is None else run.bundle,
        "scored": row.scored,
        "not_scored": row.not_scored,
        "excluded": row.excluded,
        "metrics": row.metrics,
        "pixel_metrics": row.pixel,
        "difference_to_first": {
            name: {**asdict(difference), "noise": difference.noise} for name, difference in row.differences.items()
        },
        "AUC_breakdown": row.breakdown,
        "threshold": row.threshold,
        "alarms": None if row.alarms is None else row.alarms.to_json(),
        "confusion": None if row.confusion is None else asdict(row.confusion),
        "splits": [asdict(split) for split in row.splits],
        "seconds_per_unit": row.seconds_per_unit,
        "bundle_bytes": row.bundle_bytes,
    }
