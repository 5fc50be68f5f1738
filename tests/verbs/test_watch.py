"""The wiring of `watch` as a program that uses the library has it."""

import threading

import pytest

import offnormal as on
from offnormal.errors import OffnormalError, UsageError
from offnormal.watching.pipeline import exclusive_folder
from tests.watching.test_recordings import watch
from tests.watching.yard import QUICK_RULES


def test_events_can_be_iterated_over_and_left(yard, tmp_path):
    given = {"rules": QUICK_RULES, "threads": 1}
    found = list(on.watch(yard / "bundle", yard / "odd.mp4", out=tmp_path / "a", **given))
    assert [event.state for event in found] == ["open", "closed"]
    for event in on.watch(yard / "bundle", yard / "odd.mp4", out=tmp_path / "b", realtime=True, **given):
        assert event.state == "open"
        break
    assert not [thread for thread in threading.enumerate() if thread.name in ("watch", "score", "odd")]


def test_a_recording_that_cannot_be_read_is_an_error_at_the_end(yard, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(OffnormalError, match="broken"):
        list(on.watch(yard / "bundle", tmp_path / "broken.mp4", out=tmp_path / "out", threads=1))


def test_a_check_asks_no_source_unless_it_is_told_to(yard, tmp_path):
    it = watch(yard, tmp_path)
    (plain,), (asked,) = list(it.check()), list(it.check(connect=True))
    assert (plain.source, asked.source) == ("", "64 x 64")
    assert plain.thresholds.threshold == it.setups[0].bundle.calibration.threshold
    (later,) = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"]).check()
    assert later.thresholds is None, "footage would have to be scored first"


def test_a_folder_is_one_programs_at_a_time(tmp_path):
    with (
        exclusive_folder(tmp_path / "out"),
        pytest.raises(UsageError, match="another offnormal watch"),
        exclusive_folder(tmp_path / "out"),
    ):
        pass
    with exclusive_folder(tmp_path / "out"):
        pass


def test_progress_is_counted_by_frames_over_all_footage(yard, tmp_path):
    counted = []
    it = watch(yard, tmp_path)
    it._progress = lambda what, done, total: counted.append((what, done, total))
    list(it.dry_runs())
    assert counted == [("watch", frame, frame) for frame in range(1, 81)]
