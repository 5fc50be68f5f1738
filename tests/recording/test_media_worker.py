import shutil
import threading
import time

import pytest

from offnormal.recording.media_worker import MediaWorker
from offnormal.recording.retention import Retention
from tests.recording.test_retention import left, write
from tests.sinks.test_dispatcher import until


def test_jobs_of_a_kind_are_done_in_order_and_one_that_fails_ends_no_other(caplog):
    worker, done = MediaWorker(), []
    worker.submit(lambda: done.append("first"))
    worker.submit(lambda: 1 / 0)
    worker.submit(lambda: done.append("third"))
    assert worker.close(20) and done == ["first", "third"]
    assert "ZeroDivisionError" in caplog.text


def test_beyond_the_room_there_is_jobs_are_refused_and_close_says_what_is_unwritten(monkeypatch, caplog):
    monkeypatch.setattr("offnormal.recording.media_worker._JOBS", 2)
    worker, go, busy = MediaWorker(), threading.Event(), threading.Event()
    worker.submit(lambda: (busy.set(), go.wait(20)))
    assert busy.wait(20)
    assert [worker.submit(busy.clear) for _ in range(3)] == [True, True, False]
    assert not worker.close(0.0) and busy.is_set()
    assert "2 pictures are left unwritten" in caplog.text
    go.set()


def test_frames_that_wait_to_become_clips_are_bounded(monkeypatch):
    monkeypatch.setattr("offnormal.recording.media_worker._BYTES", 100)
    worker, go = MediaWorker(), threading.Event()
    assert worker.submit_clip(lambda: go.wait(20), 150), "one is taken whatever its size"
    assert not worker.submit_clip(go.set, 1)
    go.set()
    until(lambda: worker.submit_clip(go.set, 90))
    assert worker.close(20)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_worker_sees_to_it_in_quiet_times_and_after_a_clip(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr("offnormal.recording.media_worker.SWEEP_S", 0.02 if quiet else 60.0)
    events = tmp_path / "events"
    write(tmp_path / "made", 2)
    shutil.copytree(tmp_path / "made", events)  # whole, before anybody looks, with the times of the files
    retention = Retention(events, days=None, gigabytes=1e-9)
    worker = MediaWorker(retention)
    if not quiet:
        worker.submit_clip(lambda: None, 1)
    end_s = time.monotonic() + 20
    while retention._looked_s is None:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert worker.close(20)
    assert left(events) == []
