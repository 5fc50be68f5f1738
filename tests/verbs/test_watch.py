"""The verb `watch` as a library call."""

import threading

import pytest

import offnormal as on
from offnormal.errors import OffnormalError, UsageError
from offnormal.watching.pipeline import exclusive_folder
from tests.watching.test_recordings import watch
from tests.watching.yard import QUICK_RULES


def test_iterating_over_events_can_stop_early(yard, tmp_path):
    options = {"rules": QUICK_RULES, "threads": 1}
    events = list(on.watch(yard / "bundle", yard / "odd.mp4", out=tmp_path / "a", **options))
    assert [event.state for event in events] == ["open", "closed"]
    for event in on.watch(yard / "bundle", yard / "odd.mp4", out=tmp_path / "b", realtime=True, **options):
        assert event.state == "open"
        break
    assert not [thread for thread in threading.enumerate() if thread.name in ("watch", "score", "odd")]


def test_a_recording_that_cannot_be_read_is_an_error_at_the_end(yard, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(OffnormalError, match="broken"):
        list(on.watch(yard / "bundle", tmp_path / "broken.mp4", out=tmp_path / "out", threads=1))


def test_a_check_reads_no_source_without_connect(yard, tmp_path):
    it = watch(yard, tmp_path)
    (plain,), (connected,) = list(it.check()), list(it.check(connect=True))
    assert (plain.first_frame, connected.first_frame) == ("", "64x64")
    assert plain.thresholds.threshold == it.setups[0].bundle.calibration.threshold
    (later,) = watch(yard, tmp_path, rate="60/hour", calibrate_on=[yard / "calm.mp4"]).check()
    assert later.thresholds is None, "footage must be scored first"


def test_a_folder_is_locked_by_one_program(tmp_path):
    with (
        exclusive_folder(tmp_path / "out"),
        pytest.raises(UsageError, match="another offnormal watch"),
        exclusive_folder(tmp_path / "out"),
    ):
        pass
    with exclusive_folder(tmp_path / "out"):
        pass


def test_progress_counts_frames_of_all_footage(yard, tmp_path):
    steps = []
    it = watch(yard, tmp_path)
    it._progress = lambda what, done, total: steps.append((what, done, total))
    list(it.dry_runs())
    assert steps == [("watch", frame, frame) for frame in range(1, 81)]
