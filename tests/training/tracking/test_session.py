"""The session of a run, with a tracker that does as it is told."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from offnormal.run import Run
from offnormal.training import worker
from offnormal.training.tracking import session
from offnormal.training.tracking.session import Tracking, trackers_of


class Told:
    """A tracker that keeps what it is told and fails, or hangs, when it is asked to."""

    package = "told"
    calls: ClassVar[list] = []
    away: ClassVar[int] = 0  # openings that fail
    full: ClassVar[int] = 0  # sendings that fail
    hanging: ClassVar = None

    def __init__(self, about, ident):
        if Told.away:
            Told.away -= 1
            raise ConnectionError("away")
        if Told.hanging is not None:
            Told.hanging.wait()
        self.ident, self.place = ident or "new", f"told/{about.project}/{about.name}"
        Told.calls.append(("open", ident))

    def configure(self, values):
        Told.calls.append(("configure", values))

    def points(self, points):
        if points and Told.full:
            Told.full -= 1
            raise OSError(28, "No space left on device")
        Told.calls.extend(("point", point.step, point.values) for point in points)

    def rewind(self, step):
        Told.calls.append(("rewind", step))

    def summary(self, values, step):
        Told.calls.append(("summary", step, values))

    def picture(self, name, png, step):
        Told.calls.append(("picture", name, png, step))

    def close(self, *, failed):
        Told.calls.append(("close", failed))


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    monkeypatch.setattr(Told, "calls", [])
    for name, value in {"away": 0, "full": 0, "hanging": None}.items():
        monkeypatch.setattr(Told, name, value)
    monkeypatch.setattr(session, "_TRACKERS", {"told": ""})
    monkeypatch.setattr(session, "_resolve", lambda name: Told)
    monkeypatch.setattr(worker, "_FIRST_S", 0.001)
    monkeypatch.setattr(session, "_EVERY_S", 0.001)
    monkeypatch.setattr(session, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(session, "_STALL_S", 0.3)


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "one")
    made.path.mkdir()
    made.write_config({"size": "16"})
    return made


def step(run, *numbers):
    for number in numbers:
        run.log("step", step=number, epoch=1, losses={"g": {"loss": number}}, lr={}, gradient={}, seconds=0)


def steps():
    return [call[1] for call in Told.calls if call[0] == "point"]


def test_everything_is_sent_once_and_in_order(run):
    step(run, 1, 2)
    tracking = Tracking(run.path, ["told"], "mine", "called")
    step(run, 3)
    run.log("resumed", step=2)
    step(run, 3)
    run.log("done", seconds=1)
    tracking.show({"curves/g": b"png"})
    (found,) = tracking.close()
    assert (found.name, found.place, found.missing) == ("told", "told/mine/called", None)
    assert [call[0] for call in Told.calls] == [
        "open", "configure", "point", "point", "point", "rewind", "point", "summary", "picture", "close",
    ]  # fmt: skip
    assert ("configure", {"size": "16"}) in Told.calls
    assert ("picture", "curves/g", b"png", 3) in Told.calls
    assert Told.calls[-1] == ("close", False)


def test_a_later_process_goes_on_with_the_same_tracked_run_where_the_first_one_stopped(run):
    step(run, 1)
    Tracking(run.path, ["told"], "mine", "called").close(failed=True)
    assert Told.calls[-1] == ("close", True)
    Told.calls.clear()
    step(run, 2)
    assert trackers_of(run.path) == ["told"]
    (found,) = Tracking(run.path, ["told"]).close()
    assert [call[:2] for call in Told.calls] == [("open", "new"), ("point", 2), ("close", False)]
    assert found.place == "told/mine/called"


def test_nothing_is_lost_while_a_tracker_is_away(run, caplog):
    Told.away = 5
    tracking = Tracking(run.path, ["told"])
    step(run, 1, 2, 3)
    while Told.away:
        pass
    (found,) = tracking.close()
    assert found.missing is None
    assert steps() == [1, 2, 3]
    assert len([m for m in caplog.messages if "tracking with told fails" in m]) == 1


def test_after_a_failure_it_is_opened_anew_and_sent_again(run):
    Told.full = 3
    step(run, 1, 2)
    tracking = Tracking(run.path, ["told"])
    (found,) = tracking.close()
    assert found.missing is None
    assert steps() == [1, 2]
    assert [call[1] for call in Told.calls if call[0] == "open"] == [None, "new", "new", "new"]
    assert len([call for call in Told.calls if call[0] == "configure"]) == 1


def test_a_tracker_that_stays_away_is_reported_with_what_it_lacks_and_catches_up_later(run):
    Told.away = 10**9
    step(run, 1, 2)
    tracking = Tracking(run.path, ["told"])
    tracking.show({"curves/g": b""})
    (found,) = tracking.close()
    assert found.place is None
    assert found.missing == "not sent: 2 line(s) of the log and 1 picture(s) (ConnectionError: away)"
    Told.away = 0
    (later,) = Tracking(run.path, trackers_of(run.path)).close()
    assert later.missing is None
    assert steps() == [1, 2]


def test_a_tracker_that_hangs_is_left_behind(run):
    Told.hanging = threading.Event()
    step(run, 1)
    (found,) = Tracking(run.path, ["told"]).close()
    assert "no answer" in found.missing
    Told.hanging.set()
