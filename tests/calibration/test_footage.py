import re

import numpy as np
import pytest

from offnormal.calibration.calibration import Calibration
from offnormal.calibration.footage import block_maxima, calibrate_footage
from offnormal.errors import CalibrationError
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate


def hours(number, *, fps=5.0, seed=0, name="v"):
    """Videos of one hour each: slowly changing noise, so adjacent frames are correlated."""
    rng = np.random.default_rng(seed)
    frames = int(3600 * fps)
    for i in range(number):
        slow = np.repeat(rng.normal(0, 1, frames // 25), 25)
        times = np.arange(frames) / fps
        yield FrameScores(f"{name}{i}", slow + rng.normal(0, 0.1, frames), None, times)


def calibrate(videos, rate="2/hour"):
    return calibrate_footage(list(videos), None, rate=Rate.parse(rate), kind="held_out", bundle="b")


def blocks_in_alarm(videos, threshold, block=300):
    """Minutes per hour with a score above the threshold, counted in a loop."""
    alarms = [bool((v.scores[i : i + block] > threshold).any()) for v in videos for i in range(0, len(v.scores), block)]
    return sum(alarms) / len(alarms) * 60


def test_the_guarantee_holds_on_new_footage():
    rates = [blocks_in_alarm(hours(8, seed=100 + i), calibrate(hours(8, seed=i)).threshold) for i in range(12)]
    assert 0.8 < np.mean(rates) <= 2.4


def test_the_threshold_is_an_order_statistic_of_the_minute_maxima():
    videos = list(hours(4))
    maxima = sorted(v.scores[i : i + 300].max() for v in videos for i in range(0, 18000, 300))
    calibration = calibrate(videos)
    assert calibration.effective <= len(maxima) == 240
    allowed = sum(value > calibration.threshold for value in maxima)
    assert calibration.threshold in maxima and allowed <= 2 / 60 * 241
    assert calibration.block_s == 60
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_the_explanation_states_the_rate_its_interval_and_its_data():
    text = r"expected .* at most 2 per hour \(95 % CI [\d.]+-[\d.]+ per hour\), 72000 held-out normal frames"
    assert re.fullmatch(text, calibrate(hours(4)).explanation)


def test_too_little_footage_raises_with_the_hours_needed():
    with pytest.raises(CalibrationError, match=r"2 per day cannot be guaranteed from 3 h of footage.*; it needs 12 h"):
        calibrate(hours(3), "2/day")
    with pytest.raises(CalibrationError, match=r"from 0 s of footage; it needs 29 min"):
        calibrate([FrameScores("short", [1.0, 2.0], None, [0.0, 0.2])])


def test_footage_without_a_clock_needs_an_fps():
    with pytest.raises(CalibrationError, match="--fps"):
        calibrate([FrameScores(video.name, video.scores) for video in hours(2)])
    videos = [FrameScores(video.name, video.scores, fps=5) for video in hours(2)]
    assert calibrate(videos).threshold == calibrate(hours(2)).threshold


def test_time_between_recordings_is_not_footage():
    """One burst of 10 s every 10 minutes: six bursts are one minute of footage."""
    (video,) = hours(1)
    bursts = np.arange(18000) // 50
    sparse = FrameScores("motion", video.scores, None, np.arange(18000) / 5 + bursts * 590)
    assert block_maxima([sparse], 60.0).hours == 1
    assert calibrate([sparse], "4/hour").threshold == calibrate([video], "4/hour").threshold
    with pytest.raises(CalibrationError, match=r"from 60 min of footage"):
        calibrate([sparse], "1/day")


def test_a_block_with_a_lost_frame_counts():
    (video,) = hours(1)
    times, scores = video.times_s.copy(), video.scores.copy()
    times[4000], scores[4000] = np.nan, np.nan
    assert block_maxima([FrameScores("damaged", scores, None, times)], 60.0).hours == 1


def test_thinned_footage_has_its_full_duration():
    (video,) = hours(1)
    scores = np.where(np.arange(18000) % 50 == 0, video.scores, np.nan)  # one frame in ten seconds
    assert block_maxima([FrameScores("v", scores, None, video.times_s, is_thinned=True)], 60.0).hours == 1


def test_frames_without_scores_do_not_count():
    (video,) = hours(1)
    scores = video.scores.copy()
    scores[:600] = np.nan
    video = FrameScores("h", scores, None, video.times_s)
    peaks = [np.where(np.isnan(scores), np.nan, scores * 2)]
    calibration = calibrate_footage([video], peaks, rate=Rate(4, "hour"), kind="held_out", bundle="b")
    assert calibration.pixel_threshold == pytest.approx(2 * calibration.threshold)
    assert len(calibration.scores) == 17400


def test_high_rates_use_shorter_blocks():
    calibration = calibrate(hours(2), "60/hour")
    assert calibration.block_s == 15
    assert calibration.rate == Rate(60, "hour")


def test_blocks_with_less_than_half_of_their_frames_scored_do_not_count():
    """Four minutes at 1 fps with 60, 24, 36, and 20 scored frames."""
    scores = np.arange(240.0)
    for minute, missing in enumerate([0, 36, 24, 40]):
        scores[60 * minute + 1 : 60 * minute + 1 + missing] = np.nan
    blocks = block_maxima([FrameScores("v", scores, None, np.arange(240.0))], 60.0)
    assert blocks.maxima.tolist() == [59, 179]
    assert blocks.hours == 2 / 60


def test_a_short_video_counts_if_it_fills_half_a_block():
    """A video of 25 s fills less than half a block, one of 35 s fills more."""
    videos = [FrameScores(f"{length} s", np.arange(length), None, np.arange(length)) for length in (25.0, 35.0)]
    assert block_maxima(videos, 60.0).maxima.tolist() == [34]
