"""The tracking of a run, with a fake tracker."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from offnormal.run import Run
from offnormal.training import worker
from offnormal.training.tracking import session
from offnormal.training.tracking.session import Tracking, list_trackers


class FakeTracker:
    """A tracker that records its calls, and fails or hangs on request."""

    package = "fake"
    calls: ClassVar[list] = []
    away: ClassVar[int] = 0  # openings that will fail
    full: ClassVar[int] = 0  # calls of log_points that will fail
    hanging: ClassVar = None

    def __init__(self, info, ident):
        if FakeTracker.away:
            FakeTracker.away -= 1
            raise ConnectionError("away")
        if FakeTracker.hanging is not None:
            FakeTracker.hanging.wait()
        self.ident, self.location = ident or "new", f"fake/{info.project}/{info.name}"
        FakeTracker.calls.append(("open", ident))

    def configure(self, values):
        FakeTracker.calls.append(("configure", values))

    def log_points(self, points):
        if points and FakeTracker.full:
            FakeTracker.full -= 1
            raise OSError(28, "No space left on device")
        FakeTracker.calls.extend(("point", point.step, point.values) for point in points)

    def rewind(self, step):
        FakeTracker.calls.append(("rewind", step))

    def log_summary(self, values, step):
        FakeTracker.calls.append(("summary", step, values))

    def log_image(self, name, png, step):
        FakeTracker.calls.append(("image", name, png, step))

    def close(self, *, failed):
        FakeTracker.calls.append(("close", failed))


@pytest.fixture(autouse=True)
def _reset(monkeypatch):
    monkeypatch.setattr(FakeTracker, "calls", [])
    for name, value in {"away": 0, "full": 0, "hanging": None}.items():
        monkeypatch.setattr(FakeTracker, name, value)
    monkeypatch.setattr(session, "_TRACKERS", {"fake": ""})
    monkeypatch.setattr(session, "_resolve", lambda name: FakeTracker)
    monkeypatch.setattr(worker, "_FIRST_S", 0.001)
    monkeypatch.setattr(session, "_EVERY_S", 0.001)
    monkeypatch.setattr(session, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(session, "_STALL_S", 0.3)


@pytest.fixture
def run(tmp_path):
    created = Run(tmp_path / "one")
    created.path.mkdir()
    created.write_config({"size": "16"})
    return created


def step(run, *numbers):
    for number in numbers:
        run.log("step", step=number, epoch=1, losses={"g": {"loss": number}}, lr={}, gradient={}, seconds=0)


def steps():
    return [call[1] for call in FakeTracker.calls if call[0] == "point"]


def test_all_values_are_sent_once_and_in_order(run):
    step(run, 1, 2)
    tracking = Tracking(run.path, ["fake"], "mine", "called")
    step(run, 3)
    run.log("resumed", step=2)
    step(run, 3)
    run.log("done", seconds=1)
    tracking.add_images({"curves/g": b"png"})
    (destination,) = tracking.close()
    assert (destination.name, destination.location, destination.missing) == ("fake", "fake/mine/called", None)
    assert [call[0] for call in FakeTracker.calls] == [
        "open", "configure", "point", "point", "point", "rewind", "point", "summary", "image", "close",
    ]  # fmt: skip
    assert ("configure", {"size": "16"}) in FakeTracker.calls
    assert ("image", "curves/g", b"png", 3) in FakeTracker.calls
    assert FakeTracker.calls[-1] == ("close", False)


def test_a_later_process_continues_the_same_tracked_run(run):
    step(run, 1)
    Tracking(run.path, ["fake"], "mine", "called").close(failed=True)
    assert FakeTracker.calls[-1] == ("close", True)
    FakeTracker.calls.clear()
    step(run, 2)
    assert list_trackers(run.path) == ["fake"]
    (destination,) = Tracking(run.path, ["fake"]).close()
    assert [call[:2] for call in FakeTracker.calls] == [("open", "new"), ("point", 2), ("close", False)]
    assert destination.location == "fake/mine/called"


def test_nothing_is_lost_while_a_tracker_is_down(run, caplog):
    FakeTracker.away = 5
    tracking = Tracking(run.path, ["fake"])
    step(run, 1, 2, 3)
    while FakeTracker.away:
        pass
    (destination,) = tracking.close()
    assert destination.missing is None
    assert steps() == [1, 2, 3]
    assert len([m for m in caplog.messages if "tracking with fake failed" in m]) == 1


def test_after_a_failure_the_tracker_is_reopened_and_values_are_sent_again(run):
    FakeTracker.full = 3
    step(run, 1, 2)
    tracking = Tracking(run.path, ["fake"])
    (destination,) = tracking.close()
    assert destination.missing is None
    assert steps() == [1, 2]
    assert [call[1] for call in FakeTracker.calls if call[0] == "open"] == [None, "new", "new", "new"]
    assert len([call for call in FakeTracker.calls if call[0] == "configure"]) == 1


def test_a_tracker_that_stays_down_is_reported_and_catches_up_later(run):
    FakeTracker.away = 10**9
    step(run, 1, 2)
    tracking = Tracking(run.path, ["fake"])
    tracking.add_images({"curves/g": b""})
    (destination,) = tracking.close()
    assert destination.location is None
    assert destination.missing == "not sent: 2 lines of the log and 1 image (ConnectionError: away)"
    FakeTracker.away = 0
    (later,) = Tracking(run.path, list_trackers(run.path)).close()
    assert later.missing is None
    assert steps() == [1, 2]


def test_a_tracker_that_hangs_is_abandoned(run):
    FakeTracker.hanging = threading.Event()
    step(run, 1)
    (destination,) = Tracking(run.path, ["fake"]).close()
    assert "no answer" in destination.missing
    FakeTracker.hanging.set()
