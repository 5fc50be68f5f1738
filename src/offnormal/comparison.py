"""Several evaluations of the same data side by side, on what all of them scored. Pure numpy.

Every metric is computed again from the scores on the frames (or pictures) that all runs scored, so that no run gains by
leaving hard ones out. Differences to the first run come with 95 % intervals from draws of whole videos (groups,
pictures), the same draws for every run: where 0 lies inside, the difference may be noise. `combined` sums the runs'
-log tail probabilities, as Fisher does with independent tests (Statistical Methods for Research Workers, 1925, sec.
21.1). Detectors that look at the same frames are not independent, so the sum ranks frames and is no probability, and
nothing calibrates a threshold for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offnormal.data.class_split import PARTS
from offnormal.errors import CalibrationError, DataError, UsageError
from offnormal.evaluated.common_rows import Common, common_rows
from offnormal.evaluated.run import EvaluatedRun, read_run, short_names
from offnormal.evaluated.score_table import Kind
from offnormal.metrics import bootstrap, clips, decision, image
from offnormal.metrics.clips import PartRow
from offnormal.metrics.operational import Operation, operate
from offnormal.metrics.video import PER_VIDEO_NORM, FrameScores, frame_auc, video_metrics

CLIP_METRICS = clips.METRICS
IMAGE_METRICS = ("image_AUROC", "image_AP", "image_F1")
FRAME_METRICS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP")
LOWER_IS_BETTER = frozenset({"frame_EER", "frame_EER" + PER_VIDEO_NORM})
COMBINED = "combined"
_DRAWN = {
    "image_AUROC": "AUC",
    "image_AP": "AP",
    "image_F1": "F1",
    "clip_AUROC": "AUC",
    "clip_AP": "AP",
    "frame_AUC_micro": "AUC",
    "frame_EER": "EER",
    "frame_AP": "AP",
}


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
    run: EvaluatedRun | None  # None: combined
    scores: NDArray[np.float64]  # (R,) of the common rows
    series: tuple[FrameScores, ...]  # the same by video; NaN where not every run has a score; () for pictures
    scored: int  # rows with a score of its own
    not_scored: int  # rows that it has no score for
    left_out: int  # scored by it and not by every other run
    metrics: dict[str, float]
    pixel: dict[str, float]  # from its own metrics.json, on its own frames
    breakdown: dict[str, float | None]  # AUC by video, or by kind of defect
    threshold: float | None
    operation: Operation | None  # alarms at its own threshold, of videos
    confusion: decision.Confusion | None  # decisions at its own threshold, of pictures and clips
    accuracy: tuple[PartRow, ...]  # of clips: what that threshold keeps and catches, by part
    seconds_per_frame: float | None
    bundle_bytes: int | None
    differences: dict[str, Difference]  # to the first run; of the first none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Everything that is known of several runs side by side; the first is what the others are held against."""

    kind: Kind
    data: str
    fingerprint: str
    rows: list[Contender]
    common: Common
    metrics: tuple[str, ...]  # columns, those that the labels allow
    missing: dict[str, str]  # metric -> why it could not be computed
    best: dict[str, str]  # metric -> letter of the best, where no other row may be as good
    options: dict[str, dict[str, str]]  # option -> value by letter, only those that differ
    unit: str  # what was drawn, in words
    units: int
    draws: int
    seed: int


def compare_runs(paths: Sequence[str | Path], *, combine: bool = False, merge_gap_s: float = 1.0) -> Comparison:
    """Read runs and hold them against the first on what all of them scored.

    combine: adds a row for the sum of -log tail probabilities. merge_gap_s: alarms no further apart count as one.
    Raises UsageError for fewer than two runs, one named twice, one without an evaluation, or pictures beside videos;
    DataError for runs of different data and damaged files; CalibrationError where `combine` lacks tail probabilities.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise UsageError(f"compare needs at least two runs, got {len(folders)}: offnormal compare RUN RUN ...")
    resolved = [folder.resolve() for folder in folders]
    for place, folder in enumerate(folders):
        if resolved.index(folder.resolve()) < place:
            raise UsageError(f"{folder}: is named twice; name each run once")
    runs = [read_run(folder) for folder in folders]
    _same_data(runs)
    common = common_rows([run.table for run in runs], runs[0].kind)
    names = short_names(folders)
    rows = [_contender(run, common, place, name) for place, (run, name) in enumerate(zip(runs, names, strict=True))]
    if combine:
        rows.append(_combined(runs, rows, common))
    judged, missing = _judged(rows, common, runs[0].kind, merge_gap_s)
    return _held_against_first(judged, missing, runs, common)


def differing_options(runs: Sequence[EvaluatedRun]) -> dict[str, dict[str, str]]:
    """Option -> value by letter of the run, of the options that differ between runs that say what theirs are."""
    told = {letter_of(place): run.options for place, run in enumerate(runs) if run.detector is not None}
    names = dict.fromkeys(name for options in told.values() for name in options)
    found = {name: {letter: options[name] for letter, options in told.items() if name in options} for name in names}
    return {name: own for name, own in found.items() if len(own) < len(told) or len(set(own.values())) > 1}


def letter_of(place: int) -> str:
    """A, B, C ... for the runs in their order."""
    return chr(ord("A") + place) if place < 26 else f"R{place + 1}"


def _same_data(runs: Sequence[EvaluatedRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.kind != first.kind:
            raise UsageError(
                f"{first.path} is of {first.kind}, {run.path} of {run.kind}: they share no metric; compare runs of "
                "one kind"
            )
        if run.fingerprint != first.fingerprint:
            raise DataError(
                f"{first.path} was evaluated on {first.data!r} (fingerprint {first.fingerprint[:12]}), {run.path} on "
                f"{run.data!r} ({run.fingerprint[:12]}): the test files or their labels are not the same, so figures "
                f"cannot be compared. Evaluate both on one data set: offnormal evaluate {run.path} --data DIR"
            )


def _contender(run: EvaluatedRun, common: Common, place: int, name: str) -> Contender:
    own = np.isfinite(run.table.scores)
    scores = run.table.scores[common.rows[place]]
    return Contender(
        name=name,
        letter=letter_of(place),
        run=run,
        scores=scores,
        series=common.series(scores),
        scored=int(own.sum()),
        not_scored=int((~own).sum()),
        left_out=int(own.sum()) - common.count,
        metrics={},
        pixel={metric: value for metric, value in run.metrics.items() if metric.startswith("pixel_")},
        breakdown={},
        threshold=run.threshold,
        operation=None,
        confusion=None,
        accuracy=(),
        seconds_per_frame=run.seconds_per_frame,
        bundle_bytes=run.bundle_bytes,
        differences={},
    )


def _combined(runs: Sequence[EvaluatedRun], rows: Sequence[Contender], common: Common) -> Contender:
    tails = np.stack([run.table.tails[own] for run, own in zip(runs, common.rows, strict=True)])
    bare = [str(run.path) for run, own in zip(runs, tails, strict=True) if np.isnan(own[common.scored]).any()]
    if bare:
        raise CalibrationError(
            f"--combine adds tail probabilities, and {', '.join(bare)} has frames or pictures without one: run "
            "offnormal calibrate and offnormal evaluate again, or leave --combine out"
        )
    scores = np.where(common.scored, -np.log(tails).sum(axis=0), np.nan)
    costs, sizes = [row.seconds_per_frame for row in rows], [row.bundle_bytes for row in rows]
    return replace(
        rows[0],
        name=COMBINED,
        letter="+",
        run=None,
        scores=scores,
        series=common.series(scores),
        scored=common.count,
        not_scored=0,
        left_out=0,
        pixel={},
        threshold=None,
        seconds_per_frame=sum(cost for cost in costs if cost is not None) if None not in costs else None,
        bundle_bytes=sum(size for size in sizes if size is not None) if None not in sizes else None,
    )


def _judged(
    rows: list[Contender], common: Common, kind: Kind, merge_gap_s: float
) -> tuple[list[Contender], dict[str, str]]:
    """The rows with their metrics, and what stands at their thresholds; and why metrics are missing."""
    missing: dict[str, str] = {}
    judged = []
    for row in rows:
        if kind == "videos":
            found = video_metrics(row.series)
            missing = found.missing
            alarms = None
            clocked = [video for video in row.series if video.clock.has_clock]
            if row.threshold is not None and clocked:
                alarms = operate(clocked, row.threshold, merge_gap_s=merge_gap_s)
            breakdown = {video.name: video.auc for video in found.videos}
            judged.append(replace(row, metrics=found.metrics, breakdown=breakdown, operation=alarms))
        else:
            known = common.labelled
            labels, scores = common.labels[known], row.scores[known]
            metrics, missing = _metrics_of(kind, labels, scores)
            counts = None if row.threshold is None else decision.confusion(labels, scores > row.threshold)
            kinds = [defect for defect, chosen in zip(common.defects, known, strict=True) if chosen]
            by_defect = decision.per_defect(kinds, labels, scores, row.threshold)
            breakdown = {found.defect: found.auroc for found in by_defect}
            accuracy = _accuracy(row, common) if kind == "clips" else ()
            judged.append(replace(row, metrics=metrics, breakdown=breakdown, confusion=counts, accuracy=accuracy))
    return judged, missing


def _accuracy(row: Contender, common: Common) -> tuple[PartRow, ...]:
    """What the run's threshold keeps and catches of the clips that every run scored."""
    known = np.flatnonzero(common.scored & np.isfinite(common.labels))
    parts = [common.parts[place] for place in known]
    return tuple(clips.part_rows(parts, common.labels[known], row.scores[known], row.threshold, order=PARTS))


def _metrics_of(
    kind: Kind, labels: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[dict[str, float], dict[str, str]]:
    """Metrics of pictures or clips, and why there are none."""
    if 0 not in labels or 1 not in labels:
        only = "anomalous" if 1 in labels else "normal"
        found = f"only {only} {'pictures' if kind == 'images' else 'clips'}" if labels.size else "no labels"
        return {}, {f"{kind[:-1]} metrics": f"{found}: both normal and anomalous ones are needed"}
    if kind == "clips":
        return clips.clip_metrics(labels, scores), {}
    values = (image.auroc(labels, scores), image.average_precision(labels, scores), image.best_f1(labels, scores)[0])
    return dict(zip(IMAGE_METRICS, values, strict=True)), {}


def _held_against_first(
    rows: list[Contender], missing: dict[str, str], runs: Sequence[EvaluatedRun], common: Common
) -> Comparison:
    columns = tuple(name for name in rows[0].metrics)
    number, unit, units = common.units()
    weights = bootstrap.draws(units) if columns and units > 1 else None
    drawn = [{} if weights is None else _drawn(row, columns, common, number, weights) for row in rows]
    first, others = rows[0], rows[1:]
    held = [
        replace(row, differences={name: _difference(row, first, name, own, drawn[0]) for name in columns})
        for row, own in zip(others, drawn[1:], strict=True)
    ]
    best = {name: letter for name in columns if (letter := _best(rows, drawn, name)) is not None}
    return Comparison(
        kind=runs[0].kind,
        data=runs[0].data,
        fingerprint=runs[0].fingerprint,
        rows=[first, *held],
        common=common,
        metrics=columns,
        missing=missing,
        best=best,
        options=differing_options(runs),
        unit=unit,
        units=units,
        draws=0 if weights is None else bootstrap.DRAWS,
        seed=bootstrap.SEED,
    )


def _drawn(
    row: Contender,
    columns: Sequence[str],
    common: Common,
    number: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The metrics (draws,) of one row in every draw; those that the draws can tell nothing of are left out."""
    known = common.labelled
    found: dict[str, NDArray[np.float64]] = {}
    for suffix in ("", PER_VIDEO_NORM):
        own = [name for name in columns if name.endswith(PER_VIDEO_NORM) == bool(suffix)]
        names = {name: name.removesuffix(PER_VIDEO_NORM) for name in own}
        if not names:
            continue
        scores = row.scores if not suffix else common.per_video_norm(row.scores)
        of = bootstrap.drawn_metrics(common.labels[known], scores[known], number[known], weights)
        found |= {name: of[_DRAWN[plain]] for name, plain in names.items() if plain in _DRAWN}
        macro = "frame_AUC_macro" + suffix
        if macro in columns and common.by_video(number):
            each = [_auc(common.labels[own], scores[own]) for own in common.unit_rows(number, weights.shape[1])]
            if np.isfinite(each).sum() > 1:
                found[macro] = bootstrap.drawn_mean(each, weights)
        elif macro in columns:
            found[macro] = of["AUC"]
    return found


def _auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return frame_auc(labels, scores) if 0 in labels and 1 in labels else np.nan


def _difference(
    row: Contender,
    first: Contender,
    name: str,
    own: dict[str, NDArray[np.float64]],
    others: dict[str, NDArray[np.float64]],
) -> Difference:
    span = bootstrap.interval(own[name] - others[name]) if name in own else None
    return Difference(row.metrics[name] - first.metrics[name], *(span or (None, None)))


def _best(rows: Sequence[Contender], drawn: Sequence[dict[str, NDArray[np.float64]]], name: str) -> str | None:
    """Letter of the row that is better than every other beyond noise; None where one may be as good."""
    sign = -1 if name in LOWER_IS_BETTER else 1
    top = max(range(len(rows)), key=lambda place: sign * rows[place].metrics[name])
    for place in range(len(rows)):
        if place == top:
            continue
        span = bootstrap.interval(sign * (drawn[top][name] - drawn[place][name])) if name in drawn[top] else None
        if span is None or span[0] <= 0:
            return None
    return rows[top].letter
