"""Frame metrics of videos: over all frames together, and within each video.

The main metric is `frame_AUC_micro`: raw scores of all frames of all videos together. It measures one threshold for
all videos, as an operator uses it. `frame_AUC_macro` measures only the order within each video. `_per_video_norm`
first scales the scores of each video to 0-1, as many papers do. This needs the whole video before its first frame is
scored, and gives quiet videos the same range as others, so it serves only for comparison with papers. Frames without
a score (NaN) are skipped and counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError, UsageError
from offnormal.metrics import image
from offnormal.metrics.clock import Clock
from offnormal.metrics.inputs import BoolArray, as_array, as_binary, check_both_classes, check_finite, labeled_scores

LOST = "frame could not be decoded"  # reason for a frame without a score
METRICS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP")
SMOOTHED, PER_VIDEO_NORM = "_smoothed", "_per_video_norm"  # suffixes, in the order of the two steps
_TRUNCATE = 4.0  # standard deviations at which the Gaussian is truncated, as in scipy.ndimage

FloatSeries = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """Scores of one video, one per frame, with labels and times.

    Lists become arrays. times_s, fps, restarts: arguments of `Clock.from_times`. is_thinned: only some frames were
    scored on purpose, so each score holds until the next one. lost: frames that could not be decoded.
    Raises DataError for other lengths or shapes, an infinite score or time, and labels other than 0 and 1.
    """

    name: str
    scores: np.ndarray  # (T,) float64, higher = more anomalous; NaN: not scored
    labels: np.ndarray | None = None  # (T,) bool, true = anomalous; None: unknown
    times_s: np.ndarray | None = None  # (T,) float64 seconds of the clock, rising; None: no clock
    fps: float | None = None
    restarts: Collection[int] = ()
    is_thinned: bool = False
    lost: Collection[int] = ()
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        scores = _series(self.scores, f"{self.name}: scores")
        object.__setattr__(self, "scores", scores)
        if self.labels is not None:
            self._check_length(self.labels, "labels")
            object.__setattr__(self, "labels", as_binary(self.labels, f"{self.name}: labels"))
        if self.times_s is not None:
            self._check_length(self.times_s, "times")
        times = np.full(scores.size, np.nan) if self.times_s is None else self.times_s
        clock = Clock.from_times(times, fps=self.fps, restarts=self.restarts, name=self.name)
        object.__setattr__(self, "clock", clock)
        object.__setattr__(self, "restarts", clock.restarts)
        object.__setattr__(self, "times_s", clock.times_s if clock.has_clock else None)

    @property
    def scored(self) -> BoolArray:
        """Frames (T,) with a score."""
        return np.asarray(~np.isnan(self.scores))

    @property
    def held_scores(self) -> FloatSeries:
        """Score (T,) in force during each frame: its own or, in thinned video, the last one before it."""
        return self.clock.hold_scores(self.scores) if self.is_thinned else self.scores

    def _check_length(self, values: ArrayLike, name: str) -> None:
        shape = as_array(values, f"{self.name}: {name}").shape
        if shape != self.scores.shape:
            raise DataError(
                f"{self.name}: {name} have shape {shape}, the scores have {len(self.scores)}; expected one value for "
                "each frame, in the same order: check that the labels belong to this version of the video"
            )


@dataclass(frozen=True, slots=True)
class VideoRow:
    """Metrics of one video."""

    name: str
    frames: int
    not_scored: int  # frames without a score, skipped everywhere
    anomalous: int | None  # scored frames with the label anomalous; None: no labels
    auc: float | None  # of raw scores; None: see `reason`
    reason: str | None  # why there is no auc, so that frame_AUC_macro skips the video


@dataclass(frozen=True, slots=True)
class VideoMetrics:
    """Metrics of several videos by name, and reasons for missing ones."""

    metrics: dict[str, float]  # METRICS, with suffixes, as far as the labels allow
    missing: dict[str, str]  # metric -> why it could not be computed
    eer_threshold: float | None  # raw score at frame_EER; scores >= it count as anomalous
    frames: int  # frames with a label and a score, used by the metrics
    videos: list[VideoRow]  # in input order
    smoothing: str | None  # description of the smoothing in `_smoothed` metrics; None: no smoothing

    def distinct(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics without those that repeat others: means and ranges per video, if only one is measured."""
        measured = sum(row.anomalous is not None and row.not_scored < row.frames for row in self.videos)
        return {
            name: value
            for name, value in metrics.items()
            if measured > 1 or not (name.startswith("frame_AUC_macro") or name.endswith(PER_VIDEO_NORM))
        }


def min_max(series: ArrayLike) -> FloatSeries:
    """Scale the scores (T,) of one video to 0-1: lowest 0, highest 1; a constant series becomes zeros.

    NaN (not scored) stays NaN. Raises DataError for infinite scores and for an empty series.

    >>> min_max([2, 4, 3]).tolist(), min_max([5, 5]).tolist()
    ([0.0, 1.0, 0.5], [0.0, 0.0])
    """
    values = _series(series, "series")
    scored = ~np.isnan(values)
    if not scored.any():
        return values
    low, high = float(values[scored].min()), float(values[scored].max())
    if not np.isfinite(high - low):  # the difference overflows
        return min_max(values / 4)
    return (values - low) / (high - low) if high > low else np.where(scored, 0.0, np.nan)


def frame_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve over frames, 0-1, ties counting half; DataError as in `metrics.image`.

    >>> frame_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return image.auroc(labels, scores)


def frame_eer(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Equal error rate, 0-1, and its threshold: false-positive rate = false-negative rate.

    The rate is where the line between the two nearest points of the ROC curve crosses FPR = FNR. The threshold (score
    >= threshold) is the score of the nearer of these points, because there is none between them. Raises DataError as
    in `metrics.image`.

    >>> frame_eer([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    (0.5, 0.4)
    """
    flags, values = labeled_scores(labels, scores)
    positives = int(np.count_nonzero(flags))
    negatives = flags.size - positives
    check_both_classes(positives, negatives, "labels")
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # of each group of equal scores
    detected = np.cumsum(flags[order], dtype=np.int64)[last]
    false = last + 1 - detected
    missed = positives - detected
    excess = false * positives - missed * negatives  # FPR - FNR as an integer; rises with each point
    after = int(np.argmax(excess >= 0))
    above = (0, -positives * negatives) if after == 0 else (int(false[after - 1]), int(excess[after - 1]))
    fraction = -above[1] / (int(excess[after]) - above[1])
    rate = (above[0] + fraction * (int(false[after]) - above[0])) / negatives
    nearest = after - 1 if after > 0 and -above[1] < excess[after] else after
    return float(rate), float(falling[last[nearest]])


def smooth_series(series: ArrayLike, sigma: float, times_s: ArrayLike | None = None) -> FloatSeries:
    """Smooth the scores (T,) of one video over time with Gaussian weights, future frames included.

    Live scoring would need a delay of a few `sigma` for it. sigma: in frames, or in seconds with `times_s` (T,), which
    may be irregular; at most the duration of the video. Ends are reflected (c b a | a b c), and weights end at 4
    sigma. Frames without a score (NaN) stay NaN and have no weight. Raises UsageError for a negative sigma, DataError
    for an infinite score and for times that do not rise.
    """
    values = _series(series, "series")
    if not 0 <= sigma < np.inf:
        raise UsageError(f"smoothing sigma {sigma:g}: expected 0 (none) or more, in frames or seconds")
    clock = np.arange(values.size, dtype=np.float64) if times_s is None else _clock(times_s, "times")
    if clock.shape != values.shape:
        raise DataError(f"times have shape {clock.shape}, the series has {values.size} scores; expected one time each")
    if sigma == 0 or values.size < 2:
        return values
    gaps = np.diff(clock)
    sigma = min(sigma, float(gaps.sum() + gaps[-1]))
    # forward and back: on this ring, both ends of the video are reflected
    ring = np.concatenate([[0.0], np.cumsum(np.concatenate([gaps, gaps[-1:], gaps[::-1]]))])
    lap = ring[-1] + gaps[0]
    scored = np.where(np.isnan(values), 0.0, 1.0)
    weighted = np.where(scored > 0, values, 0.0)
    weighted, scored = (np.concatenate([part, part[::-1]]) for part in (weighted, scored))
    frames = np.arange(values.size)
    total, weight = weighted[frames], scored[frames]
    for step in (1, -1):
        offset, distance = 0, np.zeros(1)
        while True:
            offset += step
            laps, index = np.divmod(frames + offset, ring.size)
            distance = np.abs(laps * lap + ring[index] - ring[frames])
            if distance.min() > _TRUNCATE * sigma:
                break
            share = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= _TRUNCATE * sigma)
            total = total + share * weighted[index]
            weight = weight + share * scored[index]
    return np.where(np.isnan(values), np.nan, total / np.where(weight > 0, weight, 1.0))


def video_metrics(videos: Sequence[FrameScores], *, smooth_sigma: float | None = None) -> VideoMetrics:
    """Compute the frame metrics that the labels allow, raw and after per-video min-max.

    smooth_sigma: seconds; the metrics after `smooth_series` are named `_smoothed`. `missing` has the reason for each
    metric that cannot be computed (one class only, no labels, no scores). Raises DataError for duplicate video names,
    UsageError for smoothing without a clock.
    """
    names = [video.name for video in videos]
    if len(set(names)) < len(names):
        duplicates = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"duplicate video names: {', '.join(duplicates)}; expected a unique name for each video")
    labeled = [(video, video.labels) for video in videos if video.labels is not None and video.scored.any()]
    flags = [labels[video.scored] for video, labels in labeled]
    raw = [video.scores[video.scored] for video, _ in labeled]
    series = {"": raw, PER_VIDEO_NORM: [min_max(scores) for scores in raw]}
    if smooth_sigma is not None:
        smoothed = [_smooth(video, smooth_sigma)[video.scored] for video, _ in labeled]
        series[SMOOTHED] = smoothed
        series[SMOOTHED + PER_VIDEO_NORM] = [min_max(scores) for scores in smoothed]
    rows = [_row(video) for video in videos]
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    for suffix, scores in series.items():
        values, reasons = _measure(flags, scores)
        metrics |= {name + suffix: value for name, value in values.items()}
        missing |= {name + suffix: reason for name, reason in reasons.items()}
    return VideoMetrics(
        metrics=metrics,
        missing=missing,
        eer_threshold=frame_eer(*_concatenate(flags, raw))[1] if "frame_EER" in metrics else None,
        frames=sum(part.size for part in flags),
        videos=rows,
        smoothing=None
        if smooth_sigma is None
        else f"Gaussian over time, sigma {smooth_sigma:g} seconds, within each video, including future frames",
    )


def _measure(flags: list[BoolArray], scores: list[FloatSeries]) -> tuple[dict[str, float], dict[str, str]]:
    """METRICS of labels and scores, one array per video, and reasons for missing ones."""
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    labels, values = _concatenate(flags, scores)
    reason = _why_no_comparison(labels)
    if reason is None:
        metrics["frame_AUC_micro"] = frame_auc(labels, values)
        metrics["frame_EER"] = frame_eer(labels, values)[0]
        metrics["frame_AP"] = image.average_precision(labels, values)
    else:
        missing = dict.fromkeys(("frame_AUC_micro", "frame_EER", "frame_AP"), reason)
    by_video = [frame_auc(*video) for video in zip(flags, scores, strict=True) if _why_no_comparison(video[0]) is None]
    if by_video:
        metrics["frame_AUC_macro"] = float(np.mean(by_video))
    else:
        missing["frame_AUC_macro"] = reason or "no video has both normal and anomalous frames"
    return {name: metrics[name] for name in METRICS if name in metrics}, missing


def _concatenate(flags: list[BoolArray], scores: list[FloatSeries]) -> tuple[BoolArray, FloatSeries]:
    return np.concatenate([np.zeros(0, np.bool_), *flags]), np.concatenate([np.zeros(0), *scores])


def _why_no_comparison(flags: BoolArray) -> str | None:
    """Why labels (n,) allow no comparison of normal with anomalous frames; None: they do."""
    if not flags.size:
        return "no frame has both a label and a score"
    if flags.all() or not flags.any():
        return f"all scored frames are {'anomalous' if flags[0] else 'normal'} ({flags.size}); both classes are needed"
    return None


def _row(video: FrameScores) -> VideoRow:
    scored = video.scored
    flags = None if video.labels is None else video.labels[scored]
    if not scored.any():
        reason: str | None = "no frame was scored"
    else:
        reason = "no labels" if flags is None else _why_no_comparison(flags)
    return VideoRow(
        name=video.name,
        frames=scored.size,
        not_scored=int(np.count_nonzero(~scored)),
        anomalous=None if flags is None else int(np.count_nonzero(flags)),
        auc=frame_auc(flags, video.scores[scored]) if flags is not None and reason is None else None,
        reason=reason,
    )


def _smooth(video: FrameScores, sigma: float) -> FloatSeries:
    if video.times_s is None:
        raise UsageError(f"{video.name}: no clock; smoothing over {sigma:g} seconds needs one: set the frame rate")
    return smooth_series(video.scores, sigma, video.times_s)


def _series(values: ArrayLike, name: str) -> FloatSeries:
    """Copy numbers (T,) as float64, NaN allowed; DataError for other shapes, infinite values, and no values."""
    array = as_array(values, name).astype(np.float64)
    if array.ndim != 1:
        raise DataError(f"{name}: shape {array.shape}; expected (T,), one number for each frame of one video")
    check_finite(np.where(np.isnan(array), 0.0, array), name)
    return array


def _clock(values: ArrayLike, name: str) -> FloatSeries:
    """Check seconds (T,): DataError unless they rise (two frames may share a time)."""
    times = _series(values, name)
    check_finite(times, name)
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size or (times.size > 1 and times[0] == times[-1]):
        at = int(back[0]) + 1 if back.size else times.size - 1
        raise DataError(
            f"{name}: {times[at]:g} s at frame {at} is not after the frames before it; expected rising seconds: "
            "sort the frames, or omit the times"
        )
    return times
