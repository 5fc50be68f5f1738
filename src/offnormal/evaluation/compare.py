"""Several evaluations of the same data side by side, on what all of them scored. Pure numpy.

Every metric is computed again from the scores on the units that all runs scored, so that no run gains by leaving hard
ones out. Differences to the first run come with 95 % intervals from draws of whole videos (groups, items), the same
draws for every run: where 0 lies inside, the difference may be noise. `combined` sums the runs' -log p-values, as
Fisher does with independent tests (Statistical Methods for Research Workers, 1925, sec. 21.1). Detectors that score
the same frames are not independent, so the sum ranks frames and is no p-value, and nothing calibrates a threshold for
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import CalibrationError, DataError, UsageError
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
    """A metric of one run less that of the first."""

    value: float
    low: float | None  # 95 % interval; None: too few units to tell
    high: float | None

    @property
    def noise(self) -> bool | None:
        """Whether the interval holds 0; None where there is no interval."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contender:
    """One row of the comparison: a run, or all of them combined."""

    name: str
    letter: str
    run: StoredEvaluation | None  # None: combined
    table: ScoreTable  # on the common rows, with a score where every run has one
    scored: int  # rows with a score of its own
    not_scored: int  # rows that it has no score for
    excluded: int  # scored by it and not by every other run
    pixel: dict[str, float]  # from its own metrics.json, on its own frames
    threshold: float | None
    seconds_per_unit: float | None
    bundle_bytes: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    breakdown: dict[str, float | None] = field(default_factory=dict)  # AUC by video, or by class
    alarms: AlarmReport | None = None  # at its own threshold, of videos
    confusion: decision.Confusion | None = None  # at its own threshold, of images and clips
    splits: tuple[SplitRow, ...] = ()  # of divided datasets: decisions by split
    differences: dict[str, Difference] = field(default_factory=dict)  # to the first run; of the first none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Everything that is known of several runs side by side; the first is what the others are compared with."""

    unit: Unit
    data: str
    fingerprint: str
    rows: list[Contender]
    metrics: tuple[str, ...]  # columns, those that the labels allow
    missing: dict[str, str]  # metric -> why it could not be computed
    best: dict[str, str]  # metric -> letter of the best, where no other row may be as good
    options: dict[str, dict[str, str]]  # option -> value by letter, only those that differ
    drawn: DrawnUnits
    draws: int
    seed: int

    @property
    def common(self) -> int:
        """How many units every run scored."""
        return int(self.rows[0].table.scored.sum())


def compare_runs(
    paths: Sequence[str | Path],
    *,
    combine: bool = False,
    rules: EventRules | None = None,
    hysteresis: float | None = None,
) -> Comparison:
    """Read runs and compare them with the first on what all of them scored.

    combine: adds a row for the sum of -log p-values. rules: what makes an alarm; None: the default.
    hysteresis: where alarms end; None: where those of each evaluation do.
    Raises UsageError for fewer than two runs, one named twice, one without an evaluation, or different units;
    DataError for runs of different data and damaged files; CalibrationError where `combine` lacks p-values.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise UsageError(f"compare needs at least two runs, got {len(folders)}: offnormal compare RUN RUN ...")
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(folders):
        if resolved.index(folder.resolve()) < number:
            raise UsageError(f"{folder}: is named twice; name each run once")
    runs = [read_evaluation(folder) for folder in folders]
    _require_same_data(runs)
    tables = common_tables([run.table for run in runs], [str(run.path / "scores.csv") for run in runs])
    rows = [
        _contender(run, table, number, name)
        for number, (run, table, name) in enumerate(zip(runs, tables, short_names(folders), strict=True))
    ]
    if combine:
        rows.append(_combined(rows))
    judged = [_judged(row, rules or EventRules(), hysteresis) for row in rows]
    return _compared([row for row, _ in judged], judged[0][1], runs)


def differing_options(runs: Sequence[StoredEvaluation]) -> dict[str, dict[str, str]]:
    """Option -> value by letter of the run, of the options that differ between runs whose detector is known."""
    known = {_letter(number): run.options for number, run in enumerate(runs) if run.detector is not None}
    names = dict.fromkeys(name for options in known.values() for name in options)
    by_option = {name: {letter: own[name] for letter, own in known.items() if name in own} for name in names}
    return {
        name: values for name, values in by_option.items() if len(values) < len(known) or len(set(values.values())) > 1
    }


def _letter(number: int) -> str:
    """A, B, C ... for the runs in their order."""
    return chr(ord("A") + number) if number < 26 else f"R{number + 1}"


def _require_same_data(runs: Sequence[StoredEvaluation]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.table.unit is not first.table.unit:
            nouns = [TRAITS[of_run.table.unit].noun[1] for of_run in (first, run)]
            raise UsageError(
                f"{first.path} scores {nouns[0]}, {run.path} {nouns[1]}: they share no metric; compare runs of one unit"
            )
        if run.fingerprint != first.fingerprint:
            raise DataError(
                f"{first.path} was evaluated on {first.data!r} (fingerprint {first.fingerprint[:12]}), {run.path} on "
                f"{run.data!r} ({run.fingerprint[:12]}): the test files or their labels are not the same, so figures "
                f"cannot be compared. Evaluate both on one dataset: offnormal evaluate {run.path} --data DIR"
            )


def _contender(run: StoredEvaluation, table: ScoreTable, number: int, name: str) -> Contender:
    scored = int(run.table.scored.sum())
    return Contender(
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


def _combined(rows: Sequence[Contender]) -> Contender:
    scored = rows[0].table.scored
    bare = [str(row.run.path) for row in rows if row.run is not None and np.isnan(row.table.p_value[scored]).any()]
    if bare:
        raise CalibrationError(
            f"--combine adds p-values, and {', '.join(bare)} has {TRAITS[rows[0].table.unit].noun[1]} without one: run "
            "offnormal calibrate and offnormal evaluate again, or leave out --combine"
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
    """The sum; None where one is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _judged(row: Contender, rules: EventRules, hysteresis: float | None) -> tuple[Contender, dict[str, str]]:
    """The row with its metrics and what happens at its threshold; and why metrics are missing."""
    table, threshold = row.table, row.threshold
    assumed = None if row.run is None else row.run.assumed_fps
    measured = measure(table, fps=assumed or ASSUMED_FPS)  # also how long a video of one frame lasts
    alarms, decisions = None, decide(table, threshold)
    breakdown = {found.name: found.auroc for found in decisions.classes if found.is_anomalous}
    if measured.frames is not None:
        breakdown = {video.name: video.auc for video in measured.frames.videos}
        if threshold is not None and row.run is not None:
            low = row.run.low_threshold
            if hysteresis is not None and row.run.median_score is not None:
                low = low_threshold(threshold, row.run.median_score, hysteresis)
            alarms = report_alarms(measured.series, threshold, rules, low)
    judged = replace(
        row,
        metrics=measured.metrics,
        breakdown=breakdown,
        alarms=alarms,
        confusion=decisions.confusion,
        splits=tuple(decisions.splits),
    )
    return judged, measured.missing


def _compared(rows: list[Contender], missing: dict[str, str], runs: Sequence[StoredEvaluation]) -> Comparison:
    first, columns = rows[0], tuple(rows[0].metrics)
    drawn = drawn_units(first.table)
    weights = bootstrap.draws(drawn.count) if columns and drawn.count > 1 else None
    draws: list[_Draws] = [{} if weights is None else _draw(row, columns, drawn, weights) for row in rows]
    compared = [first] + [
        replace(row, differences={name: _difference(row, first, name, own, draws[0]) for name in columns})
        for row, own in zip(rows[1:], draws[1:], strict=True)
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


def _draw(row: Contender, columns: Sequence[str], drawn: DrawnUnits, weights: NDArray[np.float64]) -> _Draws:
    """The metrics (draws,) of one row in every draw; those that the draws can tell nothing of are left out."""
    table, names = row.table, TRAITS[row.table.unit].drawn
    known, found = table.labeled, _Draws()
    for suffix in ("", PER_VIDEO_NORM):
        of_kind = [name for name in columns if name.endswith(PER_VIDEO_NORM) == bool(suffix)]
        plain = {name: name.removesuffix(PER_VIDEO_NORM) for name in of_kind}
        if not plain:
            continue
        scores = table.score
        if suffix:
            scores = np.concatenate([min_max(table.score[item.rows]) for item in table.items])
        of = bootstrap.drawn_metrics(table.label[known], scores[known], drawn.number[known], weights)
        found |= {name: of[names[own]] for name, own in plain.items() if own in names}
        macro = "frame_AUC_macro" + suffix
        if macro in columns and drawn.are_videos:
            each = [_auc(table.label[own], scores[own]) for own in drawn.rows()]
            if np.isfinite(each).sum() > 1:
                found[macro] = bootstrap.drawn_mean(each, weights)
        elif macro in columns:
            found[macro] = of["AUC"]
    return found


def _auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return frame_auc(labels, scores) if 0 in labels and 1 in labels else np.nan


def _difference(row: Contender, first: Contender, name: str, own: _Draws, others: _Draws) -> Difference:
    span = bootstrap.interval(own[name] - others[name]) if name in own else None
    return Difference(row.metrics[name] - first.metrics[name], *(span or (None, None)))


def _best(rows: Sequence[Contender], draws: Sequence[_Draws], name: str) -> str | None:
    """Letter of the row that is better than every other beyond noise; None where one may be as good."""
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
    """What comparison.json holds."""
    return {
        "data": {"name": comparison.data, "unit": comparison.unit.value, "fingerprint": comparison.fingerprint},
        "common": comparison.common,
        "metrics": list(comparison.metrics),
        "missing": comparison.missing,
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


def _row_json(row: Contender) -> dict[str, object]:
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
        "pixel_metrics_of_its_own_evaluation": row.pixel,
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
