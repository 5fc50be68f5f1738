import logging
import os
import shutil
import time

import pytest

from offnormal.events.event import event_id
from offnormal.files import new_file
from offnormal.recording.retention import Retention
from offnormal.sinks.files import EventFilesOptions, EventFilesSink
from offnormal.testing.events import message

DAY_S, NOW_S = 86_400.0, 1_760_000_000.0
ENDINGS = (".jpg", "-heat.jpg", "-opened.jpg", "-opened-heat.jpg", ".mp4")
SIZE = 100 * len(ENDINGS)  # bytes of an event


def write_event(folder, days_ago, *, camera="porch", subfolder="", written_days_ago=None):
    """Write files of an event, modified at its time or `written_days_ago`; return its id."""
    start_s = NOW_S - days_ago * DAY_S
    event = event_id(camera, "anomaly", start_s)
    day = folder / time.strftime("%Y-%m-%d", time.gmtime(start_s)) / subfolder
    day.mkdir(parents=True, exist_ok=True)
    at_s = start_s if written_days_ago is None else NOW_S - written_days_ago * DAY_S
    for ending in ENDINGS:
        path = day / f"{event}{ending}"
        path.write_bytes(bytes(100))
        os.utime(path, (at_s, at_s))
    return event


def remaining_ids(folder):
    return sorted({path.name[:29] for path in folder.rglob("*") if path.is_file()})


def room_for(folder, events):
    return Retention(folder, days=None, gigabytes=(events + 0.2) * SIZE / 1e9)


def test_events_beyond_an_age_are_removed_with_empty_folders(tmp_path):
    old, young = write_event(tmp_path, 31), write_event(tmp_path, 29)
    assert Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S) == 1
    assert remaining_ids(tmp_path) == [young] and old != young
    assert len(list(tmp_path.iterdir())) == 1 and len(list(tmp_path.rglob("*.jpg"))) == 4


def test_the_oldest_files_are_removed_until_the_others_fit(tmp_path):
    events = [write_event(tmp_path, days) for days in (3, 2.9, 2, 1.9, 1, 0.9)]
    room = room_for(tmp_path, 3)
    assert room.sweep(NOW_S) == 3
    assert remaining_ids(tmp_path) == events[3:]
    assert room.sweep(NOW_S) == 0


def test_new_files_are_never_removed(tmp_path):
    recorded = write_event(tmp_path, 20_000, written_days_ago=0.001)  # from a recording of unknown time
    live = write_event(tmp_path, 0.5)
    assert room_for(tmp_path, 0).sweep(NOW_S) == 1
    assert remaining_ids(tmp_path) == [recorded] and live != recorded
    Retention(tmp_path, days=1, gigabytes=None).sweep(NOW_S)
    assert remaining_ids(tmp_path) == [recorded]


def test_files_written_before_the_clock_was_set_do_not_count_as_old(tmp_path):
    undated = write_event(tmp_path, NOW_S / DAY_S - 1)  # the second day of 1970
    assert Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S) == 0
    assert remaining_ids(tmp_path) == [undated]
    assert room_for(tmp_path, 0).sweep(NOW_S) == 1


def test_only_event_files_are_removed_and_only_with_limits(tmp_path):
    event = write_event(tmp_path, 400)
    (day,) = tmp_path.iterdir()
    assert Retention(tmp_path, days=None, gigabytes=None).sweep(NOW_S) == 0
    assert remaining_ids(tmp_path) == [event]
    in_day_folder = (f"{event}.txt", f"x{event}.jpg", "notes.txt", f"evidence/{event}.mp4")
    outside = (f"evidence/{event}.mp4", f".recording/{event}.jpg", f"{event}.jpg", f"2024-01-01/{event}.jpg")
    unrelated = [*(day / name for name in in_day_folder), *(tmp_path / name for name in outside)]
    for path in unrelated:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (NOW_S - 400 * DAY_S,) * 2)
    Retention(tmp_path, days=1, gigabytes=1e-9).sweep(NOW_S)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(unrelated)


def test_unfinished_files_of_a_killed_program_are_removed_with_their_event(tmp_path):
    write_event(tmp_path, 400)
    (day,) = tmp_path.iterdir()
    for name in sorted(path.name for path in day.iterdir()):
        target = day / name
        before = target.stat().st_mtime
        with pytest.raises(KeyboardInterrupt), new_file(target) as partial:
            partial.write_bytes(b"half")
            os.utime(partial, (before, before))
            shutil.copy2(partial, tmp_path / partial.name)
            raise KeyboardInterrupt
    for path in tmp_path.glob(".*.partial*"):
        path.rename(day / path.name)
    assert len(list(day.iterdir())) == 2 * len(ENDINGS)
    Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S)
    assert not day.exists()


def test_links_are_not_followed(tmp_path):
    linked = tmp_path / "linked"
    event = write_event(linked, 400)
    (day,) = linked.iterdir()
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / day.name).symlink_to(day)
    assert Retention(folder, days=1, gigabytes=1e-9).sweep(NOW_S) == 0
    assert remaining_ids(linked) == [event]


def test_a_missing_folder_is_empty(tmp_path):
    assert Retention(tmp_path / "gone", days=1, gigabytes=1).sweep(NOW_S) == 0


def test_a_file_that_cannot_be_removed_blocks_no_other(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    locked, removable, young = write_event(tmp_path, 40), write_event(tmp_path, 39), write_event(tmp_path, 38)
    unlink = os.unlink

    def refuse(path):
        if locked in str(path):
            raise PermissionError(13, "Permission denied")
        unlink(path)

    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: refuse(path))
    assert room_for(tmp_path, 2).sweep(NOW_S) == 1
    assert remaining_ids(tmp_path) == sorted([locked, young]) and removable not in remaining_ids(tmp_path)
    warning, removed = caplog.records
    assert "Permission denied" in warning.getMessage() and "files of 1 old event" in removed.getMessage()


def test_an_unreadable_folder_blocks_no_other(tmp_path, monkeypatch, caplog):
    write_event(tmp_path, 40)
    (tmp_path / "2020-01-01").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("2020-01-01"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert Retention(tmp_path, days=30, gigabytes=None).sweep(NOW_S) == 1
    assert "2020-01-01 (Permission denied)" in caplog.text


class Clocks:
    """Replaces the time of day and the monotonic clock."""

    def __init__(self, monkeypatch):
        self.s, self.wrong_s = 5.0, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.s)
        monkeypatch.setattr(time, "time", lambda: NOW_S + self.s + self.wrong_s)


def test_sweeps_are_rare_and_use_ages_only_with_a_steady_clock(tmp_path, monkeypatch):
    clocks = Clocks(monkeypatch)
    retention = Retention(tmp_path, days=1, gigabytes=None)
    steps = ((5, 0, False), (606, 0, True), (900, 0, False), (1300, 9e8, False), (2000, 0, False), (2700, 0, True))
    for clocks.s, clocks.wrong_s, removes in steps:
        event = write_event(tmp_path, 400)
        retention.sweep_if_due()
        assert remaining_ids(tmp_path) == ([] if removes else [event]), clocks.s


def test_an_event_folder_is_swept_when_the_sink_is_idle(tmp_path, monkeypatch):
    clocks = Clocks(monkeypatch)
    old = write_event(tmp_path, 40, subfolder="porch")
    plain = EventFilesSink(EventFilesOptions(folder=tmp_path))
    cleaning = EventFilesSink(EventFilesOptions(folder=tmp_path, keep_days=30))
    for sink in (plain, cleaning):
        sink.deliver(message(0, folder=tmp_path))
        sink.idle()
    assert old in remaining_ids(tmp_path)
    clocks.s += 1000
    plain.idle()
    assert old in remaining_ids(tmp_path)
    cleaning.idle()
    assert len(remaining_ids(tmp_path)) == 1 and old not in remaining_ids(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2026-11-21"]
