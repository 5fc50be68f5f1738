import os
import time

import pytest

from offnormal.events.maker import event_id
from offnormal.sinks.event_files import EventFilesOptions, EventFilesSink
from offnormal.sinks.media_worker import MediaWorker
from offnormal.sinks.retention import Retention
from tests.sinks.told import message

DAY_S, NOW_S = 86_400.0, 1_760_000_000.0
ENDINGS = (".jpg", "-heat.jpg", "-opened.jpg", "-opened-heat.jpg", ".mp4")


def write(folder, days_ago, *, size=100, camera="porch"):
    """Files of an event of that age, and its id."""
    start_s = NOW_S - days_ago * DAY_S
    event = event_id(camera, "anomaly", start_s)
    day = folder / time.strftime("%Y-%m-%d", time.gmtime(start_s))
    day.mkdir(parents=True, exist_ok=True)
    for ending in ENDINGS:
        path = day / f"{event}{ending}"
        path.write_bytes(bytes(size))
        os.utime(path, (start_s, start_s))
    return event


def left(folder):
    return sorted({path.name[:29] for path in folder.rglob("*") if path.is_file()})


def test_events_beyond_an_age_go_whole_with_the_folders_of_their_days(tmp_path):
    old, young = write(tmp_path, 31), write(tmp_path, 29)
    assert Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S) == 1
    assert left(tmp_path) == [young] and old != young
    assert len(list(tmp_path.iterdir())) == 1 and len(list(tmp_path.rglob("*.jpg"))) == 4


def test_the_oldest_go_until_the_others_have_room(tmp_path):
    events = [write(tmp_path, days, camera=camera) for days in (3, 2, 1) for camera in ("a", "b")]
    room = Retention(tmp_path, days=None, gigabytes=3.2 * len(ENDINGS) * 100 / 1e9)
    assert room.sweep(NOW_S) == 3
    assert left(tmp_path) == sorted(events)[3:]
    assert room.sweep(NOW_S) == 0


def test_nothing_goes_without_limits_or_that_is_of_no_event(tmp_path):
    event = write(tmp_path, 400)
    assert Retention(tmp_path, days=None, gigabytes=None).sweep(NOW_S) == 0
    assert left(tmp_path) == [event]
    for name in ("notes.txt", "holiday.jpg", f"{event}.txt", f"x{event}.jpg", ".recording/porch/1.frames"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (0, 0))
    Retention(tmp_path, days=1, gigabytes=1e-9).sweep(NOW_S)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"notes.txt", "holiday.jpg", f"{event}.txt", f"x{event}.jpg", "1.frames"}


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert Retention(tmp_path / "gone", days=1, gigabytes=1).sweep(NOW_S) == 0


def test_a_file_that_cannot_be_removed_is_told_of_and_keeps_no_other(tmp_path, monkeypatch, caplog):
    held, free = write(tmp_path, 40), write(tmp_path, 39)
    unlink = os.unlink

    def refuse(path, **more):
        if held in str(path):
            raise PermissionError(13, "Permission denied")
        unlink(path, **more)

    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: refuse(path))
    Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S)
    assert left(tmp_path) == [held] and free != held
    assert caplog.text.count("Permission denied") == 1


def test_it_is_looked_for_seldom(tmp_path, monkeypatch):
    clock = [5.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    retention = Retention(tmp_path, days=1, gigabytes=None)
    for now_s, removed in ((5.0, True), (500.0, False), (606.0, True)):
        clock[0] = now_s
        write(tmp_path, 400)
        retention.look()
        assert (left(tmp_path) == []) is removed


@pytest.mark.parametrize("quiet", [True, False])
def test_the_worker_sees_to_it_at_the_start_in_quiet_times_and_between_two_pictures(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr("offnormal.sinks.retention.SWEEP_S", 0.0)
    monkeypatch.setattr("offnormal.sinks.media_worker.SWEEP_S", 0.02 if quiet else 60.0)
    write(tmp_path, 400)
    worker = MediaWorker(Retention(tmp_path, days=30, gigabytes=None))
    until_empty(tmp_path)
    write(tmp_path, 400)
    if not quiet:
        worker.submit(lambda: None)
    until_empty(tmp_path)
    assert worker.close(20)


def test_a_folder_of_events_can_forget_them_too(tmp_path):
    old = write(tmp_path, 40)
    EventFilesSink(EventFilesOptions(folder=tmp_path)).deliver(message(0, folder=tmp_path))
    assert old in left(tmp_path)
    EventFilesSink(EventFilesOptions(folder=tmp_path, keep_days=30)).deliver(message(1, folder=tmp_path))
    assert len(left(tmp_path)) == 2 and old not in left(tmp_path)


def until_empty(folder):
    end_s = time.monotonic() + 20
    while left(folder):
        assert time.monotonic() < end_s
        time.sleep(0.01)
