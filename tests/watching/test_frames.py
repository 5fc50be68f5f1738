"""One camera up to its scores, without a detector."""

import time
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from offnormal.bundle import load
from offnormal.errors import ConfigError
from offnormal.scoring.stream import ScoredFrame
from offnormal.types import Frame, Gap, InputSpec
from offnormal.watching.config import CameraConfig
from offnormal.watching.frames import INTERRUPTED, CameraFrames, CameraSetup, WallClock, read_first_frame

BEGAN_S = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()


class Live:
    """Records frames and gaps."""

    def __init__(self):
        self.items = []

    def add(self, _, item):
        self.items.append(item)


class Clock:
    """An hour ahead of the monotonic clock."""

    now_s = 50.0

    def from_monotonic(self, monotonic_s):
        return monotonic_s + 3600

    def now(self):
        return self.now_s


def camera_frames(clock=None, spec=None, live=None, **options):
    config = CameraConfig(source="x.mp4", bundle="b", start_time="2026-11-23T10:00+00:00", **options)
    setup = SimpleNamespace(
        name="gate", config=config, spec=spec or InputSpec(size=(8, 8)), address=SimpleNamespace(kind="file"),
        pooling=lambda size: None,
    )  # fmt: skip
    return CameraFrames(setup, live or Live(), clock)


def frame(index, time_s, arrived_s=None, size=(8, 12)):
    return Frame(index, time_s, np.full((*size, 3), index, np.uint8), arrived_s=arrived_s)


def scored(frame_, score=1.0):
    return ScoredFrame(frame_, score, None)


def test_frame_times_of_a_recording_count_from_its_start_and_rise():
    frames = camera_frames()
    for index, time_s in enumerate((0.0, 0.5, 0.5, 0.2, 1.0)):  # a clock that stands still, and is set back
        frames.push(frame(index, time_s))
    times = [frames.judge(scored(frame(index, None))).time_s - BEGAN_S for index in range(5)]
    assert times == pytest.approx([0, 0.5, 0.501, 0.502, 1.0], abs=1e-5)
    assert frames.complete_until_s is None


def test_frame_times_of_a_camera_follow_the_clock_of_the_camera():
    frames = camera_frames(Clock())
    frames.push(frame(0, 7.0, arrived_s=20.0))
    frames.push(frame(1, 7.2, arrived_s=21.5))  # late: its own clock counts
    judged = [frames.judge(scored(frame(index, None))) for index in range(2)]
    assert [frame_scores.time_s for frame_scores in judged] == pytest.approx([3620.0, 3620.2])
    assert [frame_scores.arrived_s for frame_scores in judged] == [20.0, 21.5]


def test_scores_are_complete_until_the_first_waiting_frame():
    clock = Clock()
    frames = camera_frames(clock)
    assert frames.complete_until_s == clock.now_s - 1
    frames.push(frame(0, 0.0, arrived_s=10.0 - 3600))
    assert frames.complete_until_s == pytest.approx(10.0 - 0.001)
    frames.judge(scored(frame(0, None)))
    assert frames.complete_until_s == clock.now_s - 1


def test_frames_that_were_lost_before_scoring_are_skipped():
    frames = camera_frames()
    for index in range(4):
        frames.push(frame(index, index / 4))
    assert frames.judge(scored(frame(2, None))).time_s == BEGAN_S + 0.5
    with pytest.raises(AssertionError, match="once and in order"):
        frames.judge(scored(frame(1, None)))


def test_no_clip_spans_a_gap_or_lost_frames():
    live = Live()
    frames = camera_frames(spec=InputSpec(size=(8, 8), frames=2), live=live)
    gap = Gap(reason="stalled", arrived_s=0.0, utc_s=0.0)
    assert frames.push(frame(0, 0.0)) == []
    assert len(frames.push(frame(1, 0.1))) == 1
    assert frames.push(gap) == [gap]
    assert frames.push(frame(2, 5.0)) == []
    (interruption,) = frames.push(frame(4, 5.2))  # the one before is missing
    assert interruption.reason == INTERRUPTED
    assert [type(item).__name__ for item in live.items] == ["Frame", "Frame", "Gap", "Frame", "Gap", "Frame"]


def test_waiting_frames_are_no_larger_than_recorded_ones():
    live = Live()
    frames = camera_frames(live=live, record={"longest": 64})
    frames.push(frame(0, 0.0, size=(100, 200)))
    frames.push(frame(1, 0.1, size=(30, 60)))
    assert [item.image.shape for item in live.items] == [(32, 64, 3), (30, 60, 3)]


def test_missing_frames_are_found_while_none_arrives():
    clock = Clock()
    frames = camera_frames(clock, health={"no_frames_s": 20})
    frames.idle()
    assert frames.idle_findings() == []
    clock.now_s += 21
    frames.idle()
    assert [(finding.trouble, finding.begins) for finding in frames.idle_findings()] == [("no_frames", True)]
    assert frames.idle_findings() == [], "each finding is returned once"


def test_a_setup_is_checked_against_its_bundle(yard, tmp_path):
    bundle = load(yard / "bundle")

    def setup(source, **options):
        return CameraSetup(CameraConfig(name="x", source=str(source), bundle=yard / "bundle", **options), bundle)

    assert setup(yard / "odd.mp4").is_recording and not setup(yard / "odd.mp4", realtime=True).is_recording
    assert setup(tmp_path).rules.min_duration_s == 0.0, "each image of a folder shows another part"
    assert setup(tmp_path, rules={"min_duration": 3}).rules.min_duration_s == 3
    assert setup(yard / "odd.mp4").pooling((64, 64)) is None
    assert setup(yard / "odd.mp4", zones=["0,0 0.5,0 0.5,1 0,1"]).pooling((64, 64)) is not None
    with pytest.raises(ConfigError, match="include no pixel"):
        setup(yard / "odd.mp4", zones=["exclude:0,0 1,0 1,1 0,1"])


def test_a_check_reports_the_size_of_the_first_frame(yard, tmp_path):
    bundle = load(yard / "bundle")
    (tmp_path / "broken.mp4").write_bytes(b"no video")

    def check(path):
        return read_first_frame(CameraSetup(CameraConfig(name="x", source=str(path), bundle=yard / "bundle"), bundle))

    assert check(yard / "odd.mp4") == "64x64"


class SystemClocks:
    """The system clocks, set by the test."""

    def __init__(self, monkeypatch):
        self.monotonic_s, self.wall_s = 100.0, 5000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic_s)
        monkeypatch.setattr(time, "time", lambda: self.wall_s)

    def advance(self, seconds, *, set_by=0.0):
        self.monotonic_s += seconds
        self.wall_s += seconds + set_by


@pytest.fixture
def clocks(monkeypatch):
    return SystemClocks(monkeypatch)


def test_it_converts_past_times_too(clocks):
    clock = WallClock()
    clocks.advance(60)
    assert clock.now() == 5060
    assert clock.from_monotonic(100) == 5000


def test_a_clock_set_forward_is_followed_at_once(clocks):
    clock = WallClock()
    clocks.advance(1, set_by=3600)
    assert clock.now() == clocks.wall_s


def test_a_clock_set_back_is_approached_while_times_rise(clocks):
    clock, moments = WallClock(), []
    clocks.advance(0, set_by=-10)
    for _ in range(300):
        clocks.advance(1)
        moments.append(clock.now())
    steps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(steps) == pytest.approx(0.95)
    assert moments[-1] == pytest.approx(clocks.wall_s)
