"""How well frame scores find the anomalous frames of videos: over all frames together, and within each video.

The headline is `frame_AUC_micro`: raw scores, every frame of every video in one row. It asks for one threshold
that serves all videos, as an operator has it. `frame_AUC_macro` asks only for the order within each video, and
`_per_video_norm` stretches each video's scores to 0-1 first, as many papers do: that looks at a whole video before
its first frame is judged, and makes a quiet video as loud as any other, so it stands beside figures of papers and
never in their place. Frames without a score (NaN) are left out and counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, UsageError
from offnormal.metrics import image
from offnormal.metrics.clock import Clock
from offnormal.metrics.inputs import BoolArray, as_array, as_binary, check_both_classes, check_finite, labeled_scores

LOST = "frame could not be decoded"  # why a frame has no score
METRICS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP")
SMOOTHED, PER_VIDEO_NORM = "_smoothed", "_per_video_norm"  # suffixes, in the order in which the two are done
_REACH = 4.0  # standard deviations at which the Gaussian is cut off, as scipy.ndimage does

FloatSeries = NDArray[np.float64]
Smoothing = Literal["frames", "seconds"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """The scores of one video, one a frame, with what is known of its frames.

    Lists are read as arrays. times_s, fps, restarts: what `Clock.of` makes the clock of. is_thinned: only some frames
    were looked at on purpose, so that each score stands until the next one. lost: frames that could not be decoded.
    Raises DataError for other lengths or shapes, an infinite score or time, or labels other than 0 and 1.
    """

    name: str
    scores: np.ndarray  # (T,) float64, higher = more anomalous; NaN: not scored
    labels: np.ndarray | None = None  # (T,) bool, true = anomalous; None: unknown
    times_s: np.ndarray | None = None  # (T,) float64 seconds, rising, as the clock has them; None: no clock
    fps: float | None = None
    restarts: Collection[int] = ()
    is_thinned: bool = False
    lost: Collection[int] = ()
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        scores = _series(self.scores, f"{self.name}: scores")
        object.__setattr__(self, "scores", scores)
        if self.labels is not None:
            self._same_length(self.labels, "labels")
            object.__setattr__(self, "labels", as_binary(self.labels, f"{self.name}: labels"))
        if self.times_s is not None:
            self._same_length(self.times_s, "times")
        times = np.full(scores.size, np.nan) if self.times_s is None else self.times_s
        clock = Clock.of(times, fps=self.fps, restarts=self.restarts, name=self.name)
        object.__setattr__(self, "clock", clock)
        object.__setattr__(self, "restarts", clock.restarts)
        object.__setattr__(self, "times_s", clock.times_s if clock.has_clock else None)

    @property
    def scored(self) -> BoolArray:
        """Which frames (T,) have a score."""
        return np.asarray(~np.isnan(self.scores))

    @property
    def standing(self) -> FloatSeries:
        """The score (T,) that stands while each frame is shown: its own, or that of the last one looked at."""
        return self.clock.held(self.scores) if self.is_thinned else self.scores

    def _same_length(self, values: ArrayLike, what: str) -> None:
        shape = as_array(values, f"{self.name}: {what}").shape
        if shape != self.scores.shape:
            raise DataError(
                f"{self.name}: {what} of shape {shape} for {len(self.scores)} scores; expected one for each frame, "
                "in the same order: were the labels made for another cut of this video?"
            )


@dataclass(frozen=True, slots=True)
class VideoRow:
    """What one video adds to the metrics."""

    name: str
    frames: int
    not_scored: int  # frames without a score, left out everywhere
    anomalous: int | None  # labeled so, of the frames with a score; None: no labels
    auc: float | None  # of its raw scores; None: see `reason`
    reason: str | None  # why it has none, and so no part in frame_AUC_macro


@dataclass(frozen=True, slots=True)
class VideoMetrics:
    """The metrics of several videos by name, and why others are not there."""

    metrics: dict[str, float]  # METRICS, with the suffixes; only those that the labels allow
    missing: dict[str, str]  # metric -> why it could not be computed
    eer_threshold: float | None  # raw score at frame_EER: a score at or above it is called anomalous
    frames: int  # with a label and a score: what the metrics rest on
    videos: list[VideoRow]  # in the order given
    smoothing: str | None  # what was done for the metrics named `_smoothed`, in words; None: nothing


def min_max(series: ArrayLike) -> FloatSeries:
    """One video's scores (T,) stretched to 0-1: the lowest becomes 0, the highest 1; a constant series zeros.

    NaN (not scored) stays NaN and is not looked at. Raises DataError for infinite scores, or none at all.

    >>> min_max([2, 4, 3]).tolist(), min_max([5, 5]).tolist()
    ([0.0, 1.0, 0.5], [0.0, 0.0])
    """
    values = _series(series, "series")
    scored = ~np.isnan(values)
    if not scored.any():
        return values
    low, high = float(values[scored].min()), float(values[scored].max())
    if not np.isfinite(high - low):  # the two ends are further apart than a number can say
        return min_max(values / 4)
    return (values - low) / (high - low) if high > low else np.where(scored, 0.0, np.nan)


def frame_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve over frames, 0-1, ties counting half; DataError as in `metrics.image`.

    >>> frame_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return image.auroc(labels, scores)


def frame_eer(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Equal error rate, 0-1, and its threshold: as many of the normal frames are called anomalous as are missed.

    The rate is read where a straight line between the two nearest points of the ROC curve crosses FPR = FNR; the
    threshold (score >= threshold) is the score of that point, of the two, whose rates differ less, since between
    them there is none. Raises DataError as in `metrics.image`.

    >>> frame_eer([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    (0.5, 0.4)
    """
    flags, values = labeled_scores(labels, scores)
    positives = int(np.count_nonzero(flags))
    negatives = flags.size - positives
    check_both_classes(positives, negatives, "labels")
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # of each run of ties
    found = np.cumsum(flags[order], dtype=np.int64)[last]
    false = last + 1 - found
    missed = positives - found
    excess = false * positives - missed * negatives  # (FPR - FNR) in whole numbers; rises with each point
    after = int(np.argmax(excess >= 0))
    above = (0, -positives * negatives) if after == 0 else (int(false[after - 1]), int(excess[after - 1]))
    way = -above[1] / (int(excess[after]) - above[1])
    rate = (above[0] + way * (int(false[after]) - above[0])) / negatives
    nearest = after - 1 if after > 0 and -above[1] < excess[after] else after
    return float(rate), float(falling[last[nearest]])


def smooth_series(series: ArrayLike, sigma: float, times_s: ArrayLike | None = None) -> FloatSeries:
    """One video's scores (T,) averaged over time with Gaussian weights; it looks at frames to come.

    So it tells how scores would fare with a delay of some `sigma`, and cannot be done live without one.
    sigma: in frames, or in seconds where `times_s` (T,) is given, which then may be spaced at will. Ends are
    reflected (c b a | a b c), weights end at 4 sigma, and sigma counts as the video's length where it is longer.
    Frames not scored (NaN) stay so and weigh nothing. Raises UsageError for a negative sigma, DataError for an
    infinite score or times that do not rise.
    """
    values = _series(series, "series")
    if not 0 <= sigma < np.inf:
        raise UsageError(f"smoothing with a sigma of {sigma:g}: expected 0 (none) or more, in frames or seconds")
    clock = np.arange(values.size, dtype=np.float64) if times_s is None else _clock(times_s, "times")
    if clock.shape != values.shape:
        raise DataError(f"times of shape {clock.shape} for a series of {values.size}: expected one for each frame")
    if sigma == 0 or values.size < 2:
        return values
    gaps = np.diff(clock)
    sigma = min(sigma, float(gaps.sum() + gaps[-1]))
    # there and back again: on this ring the end of the video meets itself, as reflection wants it
    ring = np.concatenate([[0.0], np.cumsum(np.concatenate([gaps, gaps[-1:], gaps[::-1]]))])
    lap = ring[-1] + gaps[0]
    scored = np.where(np.isnan(values), 0.0, 1.0)
    weighted = np.where(scored > 0, values, 0.0)
    weighted, scored = (np.concatenate([part, part[::-1]]) for part in (weighted, scored))
    places = np.arange(values.size)
    total, weight = weighted[places], scored[places]
    for step in (1, -1):
        offset, distance = 0, np.zeros(1)
        while True:
            offset += step
            laps, other = np.divmod(places + offset, ring.size)
            distance = np.abs(laps * lap + ring[other] - ring[places])
            if distance.min() > _REACH * sigma:
                break
            share = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= _REACH * sigma)
            total = total + share * weighted[other]
            weight = weight + share * scored[other]
    return np.where(np.isnan(values), np.nan, total / np.where(weight > 0, weight, 1.0))


def video_metrics(
    videos: Sequence[FrameScores], *, smooth_sigma: float | None = None, smooth_unit: Smoothing = "seconds"
) -> VideoMetrics:
    """Every frame metric that the labels allow, raw and after per-video min-max.

    smooth_sigma: adds the metrics once more after `smooth_series`, named `_smoothed`; the raw ones stay as they are.
    What cannot be computed (one class only, no labels, no scores) is named in `missing` with the reason. Raises
    DataError where two videos have one name, UsageError for a smoothing in seconds of a video without a clock.
    """
    names = [video.name for video in videos]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"videos: {', '.join(twice)} is there more than once; expected a name of its own for each")
    labeled = [(video, video.labels) for video in videos if video.labels is not None and video.scored.any()]
    flags = [labels[video.scored] for video, labels in labeled]
    raw = [video.scores[video.scored] for video, _ in labeled]
    series = {"": raw, PER_VIDEO_NORM: [min_max(scores) for scores in raw]}
    if smooth_sigma is not None:
        smoothed = [_smoothed(video, smooth_sigma, smooth_unit)[video.scored] for video, _ in labeled]
        series[SMOOTHED] = smoothed
        series[SMOOTHED + PER_VIDEO_NORM] = [min_max(scores) for scores in smoothed]
    rows = [_row(video) for video in videos]
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    for suffix, scores in series.items():
        found, why = _measured(flags, scores)
        metrics |= {name + suffix: value for name, value in found.items()}
        missing |= {name + suffix: reason for name, reason in why.items()}
    return VideoMetrics(
        metrics=metrics,
        missing=missing,
        eer_threshold=frame_eer(*_joined(flags, raw))[1] if "frame_EER" in metrics else None,
        frames=sum(part.size for part in flags),
        videos=rows,
        smoothing=None
        if smooth_sigma is None
        else f"Gaussian over time, sigma {smooth_sigma:g} {smooth_unit}, within each video, frames to come included",
    )


def _measured(flags: list[BoolArray], scores: list[FloatSeries]) -> tuple[dict[str, float], dict[str, str]]:
    """METRICS of labels and scores, one array a video; and those that there are not, with the reason."""
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    labels, values = _joined(flags, scores)
    lacking = _lacking(labels)
    if lacking is None:
        metrics["frame_AUC_micro"] = frame_auc(labels, values)
        metrics["frame_EER"] = frame_eer(labels, values)[0]
        metrics["frame_AP"] = image.average_precision(labels, values)
    else:
        missing = dict.fromkeys(("frame_AUC_micro", "frame_EER", "frame_AP"), lacking)
    each = [frame_auc(own, of) for own, of in zip(flags, scores, strict=True) if _lacking(own) is None]
    if each:
        metrics["frame_AUC_macro"] = float(np.mean(each))
    else:
        missing["frame_AUC_macro"] = lacking or "no video has both normal and anomalous frames"
    return {name: metrics[name] for name in METRICS if name in metrics}, missing


def _joined(flags: list[BoolArray], scores: list[FloatSeries]) -> tuple[BoolArray, FloatSeries]:
    return np.concatenate([np.zeros(0, np.bool_), *flags]), np.concatenate([np.zeros(0), *scores])


def _lacking(flags: BoolArray) -> str | None:
    """Why these labels (n,) allow no comparison of normal with anomalous frames; None where they do."""
    if not flags.size:
        return "no frame has both a label and a score"
    if flags.all() or not flags.any():
        return f"all {flags.size} scored frames are {'anomalous' if flags[0] else 'normal'}: both kinds are needed"
    return None


def _row(video: FrameScores) -> VideoRow:
    scored = video.scored
    flags = None if video.labels is None else video.labels[scored]
    if not scored.any():
        reason: str | None = "no frame was scored"
    else:
        reason = "no labels" if flags is None else _lacking(flags)
    return VideoRow(
        name=video.name,
        frames=scored.size,
        not_scored=int(np.count_nonzero(~scored)),
        anomalous=None if flags is None else int(np.count_nonzero(flags)),
        auc=frame_auc(flags, video.scores[scored]) if flags is not None and reason is None else None,
        reason=reason,
    )


def _smoothed(video: FrameScores, sigma: float, unit: Smoothing) -> FloatSeries:
    if unit == "seconds" and video.times_s is None:
        raise UsageError(f"{video.name}: has no clock to smooth over {sigma:g} seconds by; give sigma in frames")
    return smooth_series(video.scores, sigma, video.times_s if unit == "seconds" else None)


def _series(values: ArrayLike, name: str) -> FloatSeries:
    """Numbers (T,), NaN allowed -> float64 of their own; DataError for other shapes, infinity or none."""
    array = as_array(values, name).astype(np.float64)
    if array.ndim != 1:
        raise DataError(f"{name}: got shape {array.shape}, expected (T,), one number for each frame of one video")
    check_finite(np.where(np.isnan(array), 0.0, array), name)
    return array


def _clock(values: ArrayLike, name: str) -> FloatSeries:
    """Seconds (T,) -> float64; DataError unless they rise (two frames may share one) from first to last."""
    times = _series(values, name)
    check_finite(times, name)
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size or (times.size > 1 and times[0] == times[-1]):
        at = int(back[0]) + 1 if back.size else times.size - 1
        raise DataError(
            f"{name}: {times[at]:g} s at frame {at} does not come after what is before it; expected seconds that "
            "rise from the first frame to the last: sort the frames, or leave the times out"
        )
    return times
