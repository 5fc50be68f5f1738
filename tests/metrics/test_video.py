from __future__ import annotations

import doctest
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.errors import DataError, UsageError
from offnormal.metrics import video
from offnormal.metrics.video import METRICS, FrameScores, frame_auc, frame_eer, min_max, smooth_series, video_metrics

from . import naive

few = st.integers(-4, 4)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def labeled(draw):
    """Labels of both classes with scores from a few values, so ties are frequent."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=20))]
    return labels, draw(st.lists(few, min_size=len(labels), max_size=len(labels)))


@st.composite
def labeled_videos(draw):
    """Two to four labeled videos, some frames without a score, each with scored frames of both classes."""
    videos = []
    for number in range(draw(st.integers(2, 4))):
        labels, scores = draw(labeled())
        holes = draw(st.lists(st.integers(2, len(labels)), max_size=3))
        values = np.array([*scores, 0.0])
        values[holes] = np.nan
        videos.append(FrameScores(f"{number:02}", values[:-1], np.array(labels)))
    return videos


def test_doctests():
    assert doctest.testmod(video).failed == 0


@given(st.lists(finite, min_size=1, max_size=20))
def test_min_max_scales_to_0_1_and_preserves_the_order(series):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scaled = min_max(series)
    assert np.isfinite(scaled).all()
    if len(set(series)) == 1:
        assert (scaled == 0).all()
    else:
        assert (scaled.min(), scaled.max()) == (0, 1)
        assert (np.diff(scaled[np.argsort(series, kind="stable")]) >= 0).all()


def test_min_max_ignores_frames_without_a_score():
    np.testing.assert_array_equal(min_max([np.nan, 3, 1, 2]), [np.nan, 1, 0, 0.5])
    np.testing.assert_array_equal(min_max([7, np.nan, 7]), [0, np.nan, 0])
    assert np.isnan(min_max([np.nan, np.nan])).all()
    with pytest.raises(DataError, match=r"1 of 2 values are NaN or infinite, the first at position 1"):
        min_max([0, np.inf])


def naive_eer(labels, scores):
    """Walk along the ROC curve to the line segment with FPR = FNR."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        hits, false, missed = naive.at_threshold(labels, scores, threshold)
        points.append((false / labels.count(0), missed / (hits + missed)))
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 >= y1:
            fraction = (y0 - x0) / ((y0 - x0) + (x1 - y1))
            return x0 + fraction * (x1 - x0)
    raise AssertionError


@given(labeled())
@settings(max_examples=200, deadline=None)
def test_eer_equals_the_naive_walk_and_its_threshold_is_the_nearest(data):
    labels, scores = data
    rate, threshold = frame_eer(labels, scores)
    assert rate == pytest.approx(naive_eer(labels, scores), abs=1e-12)

    def rate_gap(at):
        hits, false, missed = naive.at_threshold(labels, scores, at)
        return abs(false / labels.count(0) - missed / (hits + missed))

    assert threshold in scores
    assert rate_gap(threshold) == pytest.approx(min(rate_gap(score) for score in scores))


def test_eer_matches_the_roc_curve_of_scikit_learn():
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3000)
    scores = rng.normal(labels * 1.3, 1)
    false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1 - x - np.interp(x, false_rate, true_rate), 0, 1)
    assert frame_eer(labels, scores)[0] == pytest.approx(expected, abs=1e-9)


@given(labeled_videos())
@settings(max_examples=60, deadline=None)
def test_metrics_equal_naive_loops_over_scored_frames(videos):
    result = video_metrics(videos)
    pairs = [(v.labels[v.scored].tolist(), v.scores[v.scored].tolist()) for v in videos]
    flags = [flag for labels, _ in pairs for flag in labels]
    scores = [score for _, values in pairs for score in values]
    assert result.frames == len(flags)
    assert result.metrics["frame_AUC_micro"] == pytest.approx(naive.auroc(flags, scores), abs=1e-12)
    assert result.metrics["frame_AP"] == pytest.approx(naive.average_precision(flags, scores), abs=1e-12)
    assert result.metrics["frame_EER"] == pytest.approx(naive_eer(flags, scores), abs=1e-12)
    aucs = [naive.auroc(*values) for values in pairs]
    assert result.metrics["frame_AUC_macro"] == pytest.approx(sum(aucs) / len(aucs), abs=1e-12)
    assert [row.auc for row in result.videos] == pytest.approx(aucs)
    stretched = [(s - min(values)) / ((max(values) - min(values)) or 1) for _, values in pairs for s in values]
    assert result.metrics["frame_AUC_micro_per_video_norm"] == pytest.approx(naive.auroc(flags, stretched), abs=1e-12)
    assert list(result.metrics) == [*METRICS, *(f"{name}_per_video_norm" for name in METRICS)]
    assert not result.missing and result.smoothing is None


@given(labeled_videos(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_videos_changes_nothing(videos, random):
    shuffled = random.sample(videos, len(videos))
    assert video_metrics(shuffled).metrics == pytest.approx(video_metrics(videos).metrics, abs=1e-12)


def test_per_video_norm_ignores_different_scales_of_videos():
    """Two videos, each perfectly ordered, on scales without a common threshold."""
    quiet, loud = FrameScores("quiet", [0, 0, 1], [0, 0, 1]), FrameScores("loud", [5, 5, 9], [0, 0, 1])
    metrics = video_metrics([quiet, loud]).metrics
    assert metrics["frame_AUC_micro"] == 0.75
    assert metrics["frame_AUC_macro"] == metrics["frame_AUC_micro_per_video_norm"] == 1


def test_videos_without_an_auc_have_a_reason():
    videos = [
        FrameScores("anomalous", [3, 4], [1, 1]),
        FrameScores("both", [1, np.nan, 3], [0, 0, 1]),
        FrameScores("unlabeled", [1, 2]),
        FrameScores("blind", [np.nan, np.nan], [0, 1]),
    ]
    result = video_metrics(videos)
    assert {row.name: row.reason for row in result.videos} == {
        "anomalous": "all scored frames are anomalous (2); both classes are needed",
        "both": None,
        "unlabeled": "no labels",
        "blind": "no frame was scored",
    }
    assert [row.not_scored for row in result.videos] == [0, 1, 0, 2]
    assert [row.anomalous for row in result.videos] == [2, 1, None, 0]
    assert result.frames == 4
    assert result.metrics["frame_AUC_macro"] == 1 == result.videos[1].auc
    assert result.metrics["frame_AUC_micro"] == 1 and result.eer_threshold == 3


@pytest.mark.parametrize(
    ("videos", "reason"),
    [
        ([], "no frame has both a label and a score"),
        ([FrameScores("a", [1, 2], times_s=[0, 1])], "no frame has both a label and a score"),
        ([FrameScores("a", [1, 2], [0, 0], [0, 1])], "all scored frames are normal (2); both classes are needed"),
    ],
)
def test_missing_metrics_have_reasons(videos, reason):
    result = video_metrics(videos, smooth_sigma=2)
    assert result.metrics == {} and result.eer_threshold is None
    assert set(result.missing.values()) == {reason}
    assert len(result.missing) == 4 * len(METRICS)


def test_macro_is_missing_if_no_video_has_both_classes():
    result = video_metrics([FrameScores("a", [1, 2], [0, 0]), FrameScores("b", [3, 2], [1, 1])])
    assert "frame_AUC_micro" in result.metrics and "frame_AUC_macro" not in result.metrics
    assert result.missing["frame_AUC_macro"] == "no video has both normal and anomalous frames"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, np.inf],), r"v: scores: 1 of 2 values are NaN or infinite"),
        (([[1, 2]],), r"v: scores: shape \(1, 2\); expected \(T,\)"),
        (([],), "v: scores: no values"),
        (([1, 2], [1]), r"v: labels have shape \(1,\), the scores have 2; expected one value for each frame"),
        (([1, 2], [0, 2]), "v: labels: values 2; expected only 0"),
        (([1, 2], None, [0]), r"v: times have shape \(1,\), the scores have 2"),
        (([1, 2], None, [0, np.inf]), r"v: times have shape \(2,\); expected \(T,\), finite seconds"),
    ],
)
def test_errors_name_the_video(arguments, message):
    with pytest.raises(DataError, match=message):
        FrameScores("v", *arguments)


def test_duplicate_names_are_refused():
    with pytest.raises(DataError, match="duplicate video names: v"):
        video_metrics([FrameScores("v", [1]), FrameScores("v", [2])])


@pytest.mark.parametrize("length", [1, 2, 3, 40])
@pytest.mark.parametrize("sigma", [0, 0.4, 2.0, 3.0])
def test_smoothing_equals_scipy(length, sigma):
    from scipy.ndimage import gaussian_filter1d

    series = np.random.default_rng(length).normal(size=length)
    sigma = min(sigma, length)  # sigma is limited to the duration
    expected = gaussian_filter1d(series, sigma, mode="reflect", radius=int(4 * sigma)) if sigma else series
    np.testing.assert_allclose(smooth_series(series, sigma), expected, atol=1e-12)
    np.testing.assert_allclose(smooth_series(series, sigma / 8, np.arange(length) / 8 + 5), expected, atol=1e-12)


def test_smoothing_in_seconds_weights_by_distance_in_time():
    """Compared with a double loop, with irregular times, a gap in the recording, and frames without a score."""
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.05, 0.6, 30))
    times[20:] += 100
    series = rng.normal(size=30)
    series[[3, 4, 25]] = np.nan
    smooth = smooth_series(series, 0.5, times)
    for frame in range(8, 18):  # 2 s and more from the ends
        near = [i for i in range(30) if abs(times[i] - times[frame]) <= 2 and not np.isnan(series[i])]
        weights = [np.exp(-0.5 * ((times[i] - times[frame]) / 0.5) ** 2) for i in near]
        expected = sum(w * series[i] for w, i in zip(weights, near, strict=True)) / sum(weights)
        if not np.isnan(series[frame]):
            assert smooth[frame] == pytest.approx(expected)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(series))


@given(
    st.lists(st.tuples(few, st.sampled_from([0.1, 0.5, 2.0])), min_size=2, max_size=12), st.sampled_from([0.3, 1, 3])
)
@settings(max_examples=100, deadline=None)
def test_smoothing_reflects_the_video_at_both_ends(frames, sigma):
    """Compared with one long line on which the video alternates forward and backward."""
    series, gaps = (np.array(values, float) for values in zip(*frames, strict=True))
    size, times = len(series), np.cumsum(gaps)
    order = [*range(size), *reversed(range(size))] * 12
    clock = [0.0]
    for first, second in pairwise(order):
        near = min(first, size - 2) if first == second else min(first, second)  # an edge frame follows itself
        clock.append(clock[-1] + times[near + 1] - times[near])
    line = np.array(clock)
    sigma = min(sigma, times[-1] - times[0] + gaps[-1])
    for frame, value in enumerate(smooth_series(series, sigma, times)):
        distance = np.abs(line - line[12 * size + frame])
        weights = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= 4 * sigma + 1e-9)
        assert value == pytest.approx(np.sum(weights * series[order]) / np.sum(weights), abs=1e-2)


def test_smoothing_uses_past_and_future_frames_of_the_same_video():
    step = np.repeat([0.0, 1.0], 10)
    assert smooth_series(step, 2.0)[9] > 0.2, "future frames are used"
    videos = [FrameScores("a", step, step, np.arange(20.0)), FrameScores("b", 0 * step, step, np.arange(20.0))]
    joined = video_metrics(videos, smooth_sigma=2.0)
    assert joined.metrics["frame_AUC_macro_smoothed"] == 0.75, "all of b stays at 0"
    assert joined.smoothing == "Gaussian over time, sigma 2 seconds, within each video, including future frames"
    raw = video_metrics(videos).metrics
    assert {name: joined.metrics[name] for name in raw} == raw, "raw metrics do not change"
    assert set(joined.metrics) - set(raw) == {
        f"{name}_smoothed{norm}" for name in METRICS for norm in ("", "_per_video_norm")
    }


def test_smoothing_with_a_huge_sigma_averages():
    series = np.arange(5.0)
    np.testing.assert_allclose(smooth_series(series, 1e9), 2.0, atol=0.1)
    np.testing.assert_allclose(smooth_series(series, 1e9, [0, 0, 1, 1, 2]), 2.0, atol=0.4)


def test_invalid_smoothing_is_refused():
    with pytest.raises(UsageError, match="sigma -1: expected 0"):
        smooth_series([1, 2], -1)
    with pytest.raises(DataError, match="expected one time each"):
        smooth_series([1, 2], 1, [0, 1, 2])
    with pytest.raises(UsageError, match="v: no clock; smoothing over 2 seconds needs one: set the frame rate"):
        video_metrics([FrameScores("v", [1, 2], [0, 1])], smooth_sigma=2)


@pytest.mark.realdata
def test_metrics_of_noisy_labels_of_real_footage(real_data):
    labels = np.loadtxt(real_data / "video/upcam/eval/00.csv", dtype=str)
    labels = np.array([row.split(",")[-1] for row in labels if row.split(",")[-1] in "01"], int)
    assert labels.size == 18_066
    noisy = labels + np.random.default_rng(0).normal(0, 0.5, labels.size)
    result = video_metrics([FrameScores("00", noisy, labels, np.arange(labels.size) / 5)], smooth_sigma=2.0)
    assert result.metrics["frame_AUC_micro"] == result.metrics["frame_AUC_macro"] == frame_auc(labels, noisy)
    assert result.metrics["frame_AUC_micro"] < result.metrics["frame_AUC_micro_smoothed"]


def test_a_tie_between_two_thresholds_gives_the_lower_one():
    """Above 5: no normal frame and one of two anomalous frames; above 3: both normal frames and the same one."""
    assert frame_eer([1, 0, 0, 1], [5, 3, 3, 1]) == (0.5, 3.0)
