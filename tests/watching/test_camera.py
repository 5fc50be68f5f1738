"""One camera from its scores to its events, without frames."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from offnormal.events.machine import EventRules
from offnormal.sources.health import Finding
from offnormal.types import Gap
from offnormal.watching.camera import ANEW, ENDED, Histogram, WatchedCamera
from offnormal.watching.frames import JudgedFrame
from offnormal.watching.thresholds import Thresholds

RULES = EventRules(min_duration_s=1.0, merge_gap_s=1.0, max_gap_s=5.0)
THRESHOLDS = Thresholds(threshold=3.0, low=2.0, calibration=None, setup_hash=None, promise="")
IMAGE = np.zeros((4, 4, 3), np.uint8)


class Frames:
    """What is judged is what is given."""

    began_s, over_s = 0.0, None

    def __init__(self, now_s=0.0):
        self.clock, self.findings = SimpleNamespace(now=lambda: now_s), []
        self.setup = SimpleNamespace(
            name="gate", address="rtsp://host/1", bundle=SimpleNamespace(hash="b0"), rules=RULES, is_recording=False,
            config=SimpleNamespace(schedule=None),
        )  # fmt: skip

    def judge(self, frame):
        return frame

    def idle_findings(self):
        found, self.findings = self.findings, []
        return found


def judged(time_s, score, *, quiet=False, findings=(), arrived_s=None):
    return JudgedFrame(time_s, arrived_s, IMAGE, score, None, quiet, findings)


def camera(events, frames=None, **given):
    return WatchedCamera(frames or Frames(), THRESHOLDS, callback=events.append, **given)


def states(events):
    return [(event.kind, event.state) for event in events]


def test_scores_become_events_that_are_counted():
    events = []
    one = camera(events)
    for i, score in enumerate([1, 4, 4, 4, 1, 1, 1, np.nan]):
        one.take(judged(float(i), score))
    one.take(Gap(reason="stalled", arrived_s=0.0, utc_s=0.0))
    assert states(events) == [("anomaly", "open"), ("anomaly", "closed")]
    counted = one.counted
    assert (counted.scored, counted.unscored, counted.last_score) == (7, 1, 1)
    assert counted.events == {("anomaly", "opened"): 1, ("anomaly", "closed"): 1}


def test_while_the_whole_scene_changes_nothing_is_raised():
    events = []
    one = camera(events)
    for i in range(6):
        one.take(judged(float(i), 9.0, quiet=True))
    one.finish()
    assert events == [] and one.events.suppressed_scores == 6


def test_troubles_of_the_camera_begin_and_end_and_end_with_the_program():
    events, frames = [], Frames()
    one = camera(events, frames)
    one.take(judged(10.0, 1.0, findings=(Finding("covered", True, 10.0, 5.0, "dark"),)))
    one.take(judged(12.0, 1.0, findings=(Finding("covered", False, 12.0, 5.0, "dark"),)))
    frames.findings = [Finding("no_frames", True, 40.0, 20.0, "for 20 s")]
    one.tick()
    one.finish()
    assert states(events) == [(kind, state) for kind in ("covered", "no_frames") for state in ("open", "closed")]
    assert events[-1].detail == ENDED and events[-1].id == events[-2].id


def test_a_restarted_program_resumes_what_was_open(tmp_path):
    path, events = tmp_path / "state" / "gate.json", []
    one = camera(events, state=path)
    for i in range(4):
        one.take(judged(100.0 + i, 5.0 + i))
    one.take(judged(104.0, 5.0, findings=(Finding("frozen", True, 104.0, 100.0, "still"),)))
    (opened, frozen) = events
    assert opened.state == "open" and path.is_file()

    resumed = []
    again = camera(resumed, Frames(now_s=200.0), state=path)
    (thawed,) = resumed
    assert (thawed.id, thawed.state, thawed.detail) == (frozen.id, "closed", ANEW)
    again.finish()
    assert (resumed[-1].id, resumed[-1].state, resumed[-1].peak_score) == (opened.id, "closed", 8.0)


def test_where_the_clock_was_set_back_meanwhile_what_was_open_is_closed(tmp_path):
    path, events = tmp_path / "gate.json", []
    one = camera(events, state=path)
    for i in range(4):
        one.take(judged(100.0 + i, 5.0))
    one._save()
    resumed = []
    again = camera(resumed, Frames(now_s=50.0), state=path)
    assert states(resumed) == [("anomaly", "closed")] and not again.events.is_open


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"events": {"format_version": 99}, "troubles": []})])
def test_a_damaged_state_is_named_and_nothing_else_lost(tmp_path, caplog, text):
    path = tmp_path / "gate.json"
    path.write_text(text)
    events = []
    one = camera(events, state=path)
    assert "events that were open are lost" in caplog.text and events == [] and not one.events.is_open


def test_a_value_at_a_bound_counts_below_it():
    found = Histogram(bounds=(1.0, 2.0), counts=[0, 0, 0])
    for value in (0.5, 1.0, 1.5, 9.0):
        found.add(value)
    assert found.counts == [2, 1, 1] and found.total == 12.0
