import numpy as np
import pytest

from offnormal.calibration.calibration import Calibration
from offnormal.calibration.footage import block_maxima, calibrate_footage
from offnormal.errors import CalibrationError
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate


def hours(number, *, fps=5.0, seed=0, name="v"):
    """So many videos of an hour: noise that changes slowly, so that neighboring frames resemble each other."""
    rng = np.random.default_rng(seed)
    frames = int(3600 * fps)
    for i in range(number):
        slow = np.repeat(rng.normal(0, 1, frames // 25), 25)
        times = np.arange(frames) / fps
        yield FrameScores(f"{name}{i}", slow + rng.normal(0, 0.1, frames), None, times)


def calibrated(videos, rate="2/hour", **more):
    return calibrate_footage(list(videos), None, rate=Rate.parse(rate), kind="held_out", bundle="b", **more)


def blocks_in_alarm(videos, threshold, block=300):
    """Minutes with a score above the threshold, per hour, counted one by one."""
    found = [bool((v.scores[i : i + block] > threshold).any()) for v in videos for i in range(0, len(v.scores), block)]
    return sum(found) / len(found) * 60


def test_the_threshold_keeps_its_guarantee_on_other_footage():
    kept = [blocks_in_alarm(hours(8, seed=100 + seed), calibrated(hours(8, seed=seed)).threshold) for seed in range(12)]
    assert 0.8 < np.mean(kept) <= 2.4


def test_the_threshold_is_an_order_statistic_of_the_highest_score_of_each_minute():
    videos = list(hours(4))
    maxima = sorted(v.scores[i : i + 300].max() for v in videos for i in range(0, 18000, 300))
    found = calibrated(videos)
    assert found.effective <= len(maxima) == 240
    allowed = sum(value > found.threshold for value in maxima)
    assert found.threshold in maxima and allowed <= 2 / 60 * 241
    assert found.block_s == 60
    assert Calibration.from_json(found.to_json()) == found


def test_explanations_say_the_rate_the_interval_and_what_it_rests_on():
    text = calibrated(hours(4)).explanation
    assert "on average at most 2 per hour with a false alarm" in text
    assert "per hour), from 72000 normal frames that the detector has not learned from" in text


def test_too_little_footage_is_refused_with_what_it_takes():
    with pytest.raises(CalibrationError, match=r"2 per day cannot be guaranteed from 3 h of footage.*: it needs 12 h"):
        calibrated(hours(3), "2/day")
    with pytest.raises(CalibrationError, match=r"from 0 h of footage: it needs 0\.48 h"):
        calibrated([FrameScores("short", [1.0, 2.0], None, [0.0, 0.2])])


def test_footage_without_a_clock_needs_a_rate_of_frames():
    with pytest.raises(CalibrationError, match="--fps"):
        calibrated([FrameScores(video.name, video.scores) for video in hours(2)])
    told = [FrameScores(video.name, video.scores, fps=5) for video in hours(2)]
    assert calibrated(told).threshold == calibrated(hours(2)).threshold


def test_footage_is_what_was_shown_whatever_time_passed_in_between():
    """Bursts of 10 s, one every 10 minutes: six of them are a minute."""
    (video,) = hours(1)
    bursts = np.arange(18000) // 50
    sparse = FrameScores("motion", video.scores, None, np.arange(18000) / 5 + bursts * 590)
    assert block_maxima([sparse], 60.0).hours == 1
    assert calibrated([sparse], "4/hour").threshold == calibrated([video], "4/hour").threshold
    with pytest.raises(CalibrationError, match=r"from 1 h of footage"):
        calibrated([sparse], "1/day")


def test_one_lost_frame_costs_no_block():
    (video,) = hours(1)
    times, scores = video.times_s.copy(), video.scores.copy()
    times[4000], scores[4000] = np.nan, np.nan
    assert block_maxima([FrameScores("damaged", scores, None, times)], 60.0).hours == 1


def test_thinned_footage_is_as_long():
    (video,) = hours(1)
    scores = np.where(np.arange(18000) % 50 == 0, video.scores, np.nan)  # one frame in ten seconds
    assert block_maxima([FrameScores("v", scores, None, video.times_s, is_thinned=True)], 60.0).hours == 1


def test_frames_without_scores_and_rests_of_blocks_do_not_count():
    (video,) = hours(1)
    scores = video.scores.copy()
    scores[:600] = np.nan
    holed = FrameScores("h", scores, None, video.times_s)
    peaks = [np.where(np.isnan(scores), np.nan, scores * 2)]
    found = calibrate_footage([holed], peaks, rate=Rate(4, "hour"), kind="held_out", bundle="b")
    assert found.pixel_threshold == pytest.approx(2 * found.threshold)
    assert len(found.scores) == 17400


def test_many_allowed_alarms_take_shorter_blocks():
    found = calibrated(hours(2), "60/hour")
    assert found.block_s == 15
    assert found.rate == Rate(60, "hour")


def test_blocks_of_which_less_than_half_was_scored_do_not_count():
    """Four minutes at one frame a second, of which 60, 24, 36, and 20 have a score."""
    scores = np.arange(240.0)
    for minute, missing in enumerate([0, 36, 24, 40]):
        scores[60 * minute + 1 : 60 * minute + 1 + missing] = np.nan
    blocks = block_maxima([FrameScores("v", scores, None, np.arange(240.0))], 60.0)
    assert blocks.maxima.tolist() == [59, 179]
    assert blocks.hours == 2 / 60


def test_footage_slower_than_the_rest_counts_if_it_fills_half_a_block():
    """A video of 25 s fills less than half a block, one of 35 s fills more."""
    videos = [FrameScores(f"{length} s", np.arange(length), None, np.arange(length)) for length in (25.0, 35.0)]
    assert block_maxima(videos, 60.0).maxima.tolist() == [34]
