"""One camera from its scores to its events, without frames."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from offnormal.events.machine import EventRules
from offnormal.sources.health import Finding
from offnormal.types import Gap
from offnormal.watching.camera import ENDED, RESTARTED, Histogram, WatchedCamera
from offnormal.watching.frames import JudgedFrame
from offnormal.watching.thresholds import Thresholds

RULES = EventRules(min_duration_s=1.0, merge_gap_s=1.0, max_gap_s=5.0)
THRESHOLDS = Thresholds(threshold=3.0, low=2.0, calibration=None, setup_hash=None, guarantee="")
IMAGE = np.zeros((4, 4, 3), np.uint8)


class Frames:
    """Frames that `judge` returns as they are."""

    start_s, complete_until_s = 0.0, None

    def __init__(self, now_s=0.0):
        self.clock, self.findings = SimpleNamespace(now=lambda: now_s), []
        self.setup = SimpleNamespace(
            name="gate", address="rtsp://host/1", bundle=SimpleNamespace(hash="b0"), rules=RULES, is_recording=False,
            config=SimpleNamespace(schedule=None),
        )  # fmt: skip

    def judge(self, frame):
        return frame

    def idle_findings(self):
        findings, self.findings = self.findings, []
        return findings


def judged(time_s, score, *, scene_changes=False, findings=(), arrived_s=None):
    return JudgedFrame(time_s, arrived_s, IMAGE, score, None, scene_changes, findings)


def camera(events, frames=None, **options):
    return WatchedCamera(frames or Frames(), THRESHOLDS, callback=events.append, **options)


def states(events):
    return [(event.kind, event.state) for event in events]


def test_scores_become_events_that_are_counted():
    events = []
    watched = camera(events)
    for i, score in enumerate([1, 4, 4, 4, 1, 1, 1, np.nan]):
        watched.push(judged(float(i), score))
    watched.push(Gap(reason="stalled", arrived_s=0.0, utc_s=0.0))
    assert states(events) == [("anomaly", "open"), ("anomaly", "closed")]
    counts = watched.counts
    assert (counts.scored, counts.unscored, counts.last_score) == (7, 1, 1)
    assert counts.events == {("anomaly", "opened"): 1, ("anomaly", "closed"): 1}


def test_no_event_is_raised_while_the_whole_scene_changes():
    events = []
    watched = camera(events)
    for i in range(6):
        watched.push(judged(float(i), 9.0, scene_changes=True))
    watched.finish()
    assert events == [] and watched.events.suppressed_scores == 6


def test_findings_about_the_camera_are_events_that_end_with_the_program():
    events, frames = [], Frames()
    watched = camera(events, frames)
    watched.push(judged(10.0, 1.0, findings=(Finding("covered", True, 10.0, 5.0, "dark"),)))
    watched.push(judged(12.0, 1.0, findings=(Finding("covered", False, 12.0, 5.0, "dark"),)))
    frames.findings = [Finding("no_frames", True, 40.0, 20.0, "for 20 s")]
    watched.tick()
    watched.finish()
    assert states(events) == [(kind, state) for kind in ("covered", "no_frames") for state in ("open", "closed")]
    assert events[-1].detail == ENDED and events[-1].id == events[-2].id


def test_a_restarted_program_resumes_open_events(tmp_path):
    path, events = tmp_path / "state" / "gate.json", []
    watched = camera(events, state=path)
    for i in range(4):
        watched.push(judged(100.0 + i, 5.0 + i))
    watched.push(judged(104.0, 5.0, findings=(Finding("frozen", True, 104.0, 100.0, "still"),)))
    (opened, frozen) = events
    assert opened.state == "open" and path.is_file()

    resumed = []
    restarted = camera(resumed, Frames(now_s=200.0), state=path)
    (thawed,) = resumed
    assert (thawed.id, thawed.state, thawed.detail) == (frozen.id, "closed", RESTARTED)
    restarted.finish()
    assert (resumed[-1].id, resumed[-1].state, resumed[-1].peak_score) == (opened.id, "closed", 8.0)


def test_after_a_clock_was_set_back_open_events_are_closed(tmp_path):
    path, events = tmp_path / "gate.json", []
    watched = camera(events, state=path)
    for i in range(4):
        watched.push(judged(100.0 + i, 5.0))
    watched._save()
    resumed = []
    restarted = camera(resumed, Frames(now_s=50.0), state=path)
    assert states(resumed) == [("anomaly", "closed")] and not restarted.events.is_open


DAMAGED = [
    b"{", b"{}", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"events": {"format_version": 99}, "findings": []}',
    b'{"events": [], "findings": []}', b'{"events": {}, "findings": 1e999}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_state_is_set_aside_with_one_warning(tmp_path, caplog, content):
    path, events = tmp_path / "gate.json", []
    path.write_bytes(content)
    watched = camera(events, state=path)
    assert len(caplog.records) == 1 and "open events are lost" in caplog.text
    assert events == [] and not watched.events.is_open
    assert (tmp_path / "gate.json.damaged").read_bytes() == content and not path.exists()


@pytest.mark.parametrize("number", ["1e300", "-1e300", "NaN", "Infinity"])
def test_impossible_times_in_a_state_are_damage(tmp_path, caplog, number):
    path = tmp_path / "gate.json"
    watched = camera([], state=path)
    for i in range(4):
        watched.push(judged(100.0 + i, 5.0))
    watched._save()
    state = json.loads(path.read_text())
    state["events"]["machine"]["last_s"] = state["events"]["machine"]["end_s"] = "TIME"
    path.write_text(json.dumps(state).replace('"TIME"', number))
    events = []
    restarted = camera(events, Frames(now_s=200.0), state=path)
    restarted.push(judged(300.0, 1.0))
    assert restarted.counts.scored == 1 and events == [] and "damaged" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"last_s": None}, {"last_s": 99.0}, {"end_s": 500.0}, {"quiet_until_s": 2e9}, {"peak_s": 1.0}, {"peak": None},
        {"start_s": 101.0}, {"points": [[100.0]]}, {"points": [[100.0, 5.0, 5.0]]}, {"points": [[100.0, 1e999]]},
    ],
)  # fmt: skip
def test_a_state_whose_values_contradict_each_other_is_damage(tmp_path, caplog, changes):
    path = tmp_path / "gate.json"
    watched = camera([], state=path)
    for i in range(4):
        watched.push(judged(100.0 + i, 5.0))
    watched._save()
    state = json.loads(path.read_text())
    machine = state["events"]["machine"]
    for part in (machine, machine["open"], machine["open"]["series"]):
        part.update({name: value for name, value in changes.items() if name in part})
    path.write_text(json.dumps(state))
    events = []
    restarted = camera(events, Frames(now_s=200.0), state=path)
    assert events == [] and not restarted.events.is_open and "damaged" in caplog.text
    for i in range(4):
        restarted.push(judged(300.0 + i, 5.0))
    restarted.finish()
    assert states(events) == [("anomaly", "open"), ("anomaly", "closed")]


def recording(path, tmp_path):
    frames = Frames()
    frames.setup.is_recording = True
    frames.setup.address = SimpleNamespace(path=path)
    return frames


def test_recordings_of_one_name_have_different_ids(tmp_path):
    def ids(path, threshold=3.0):
        events, frames = [], recording(path, tmp_path)
        thresholds = replace(THRESHOLDS, threshold=threshold)
        watched = WatchedCamera(frames, thresholds, callback=events.append)
        for i in range(4):
            watched.push(judged(float(i), 5.0))
        watched.push(judged(5.0, 1.0, findings=(Finding("covered", True, 5.0, 4.0, "dark"),)))
        watched.finish()
        return sorted({event.id for event in events})

    files = [tmp_path / name / "cam.mp4" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b"the same footage")
    first = ids(files[0])
    assert len(first) == 2 and ids(files[0]) == first, "nothing doubles"
    assert not set(first) & set(ids(files[1])), "in another folder"
    assert not set(first) & set(ids(files[0], threshold=2.5)), "with another setup"
    files[0].write_bytes(b"the footage of the next day")
    assert not set(first) & set(ids(files[0])), "with other content"


def test_a_value_at_a_bound_counts_below_it():
    histogram = Histogram(bounds=(1.0, 2.0), counts=[0, 0, 0])
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.add(value)
    assert histogram.counts == [2, 1, 1] and histogram.total == 12.0
