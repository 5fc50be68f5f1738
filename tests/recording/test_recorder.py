import errno
import math
import shutil
import threading
import time
from datetime import UTC, datetime

import av
import numpy as np
import pytest
from PIL import Image

from offnormal.events.camera import CameraEvents
from offnormal.events.event import EventContext, camera_event
from offnormal.events.machine import EventRules
from offnormal.recording import clips
from offnormal.recording.recorder import QUEUE_FULL, RESTARTED, HeatScale, MediaWorker, Recorder, RecordOptions
from offnormal.recording.retention import Retention
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.types import InputSpec, Resize
from tests.recording.test_retention import remaining_ids, write_event
from tests.sinks.test_dispatcher import FAST, RecordingSink, until
from tests.video_files import number_in, numbered

T0 = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
RULES = EventRules(min_duration_s=0.4, merge_gap_s=1.0)
FRAMES = numbered(200)
SCALE = HeatScale(InputSpec(size=(24, 32), resize=Resize(policy="stretch")), 3.0, 1.5, 6.0)


class Scene:
    """One camera with recorder, worker, dispatcher, and sink."""

    def __init__(self, folder, **values):
        self.folder, self.sink = folder, RecordingSink()
        self.dispatcher = Dispatcher({"kept": self.sink}, folder / "spool.db", folder=folder / "events", **FAST)
        self.worker = MediaWorker()
        options = RecordOptions(**{"pre_roll_s": 2, "post_roll_s": 1, **values.pop("options", {})})
        more = {"rules": RULES, "options": options, "threshold": 3.0, "scale": SCALE, **values}
        self.recorder = Recorder("porch", folder / "events", self.dispatcher, self.worker, **more)
        context = EventContext(camera="porch", source="", threshold=3.0, low_threshold=2.0)
        self.events = CameraEvents(context, values.get("rules", RULES))

    def __enter__(self):
        self.dispatcher.__enter__()
        return self

    def __exit__(self, *_):
        self.worker.close(20)
        self.dispatcher.close()

    def watch(self, scores, frames=FRAMES, start=0):
        for i, score in enumerate(scores, start):
            map = np.zeros((24, 32), np.float32)
            map[:, :8] = max(score, 0)
            self.recorder.push(T0 + i / 5, frames[i], score, map)
            for event in self.events.push(T0 + i / 5, score):
                self.recorder.take(event)

    def end(self):
        for event in self.events.finish():
            self.recorder.take(event)
        self.recorder.finish()
        assert self.worker.close(20) and self.dispatcher.drain(20)
        return [message.event for message in self.sink.messages]


def clip_numbers(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


QUIET_LOUD_QUIET = [1.0] * 30 + [4, 4, 5, 9, 5, 4] + [1.0] * 30


def test_an_event_gets_snapshot_heat_map_and_a_clip_with_pre_and_post_roll(tmp_path):
    with Scene(tmp_path) as scene:
        scene.watch(QUIET_LOUD_QUIET)
        opened, closed = scene.end()
    assert (opened.state, closed.state, closed.id) == ("open", "closed", opened.id)
    folder = tmp_path / "events"
    clip = clip_numbers(folder / closed.clip)
    assert clip == list(range(20, 42)), "from two seconds before frame 30 to one after frame 36"
    assert number_in(np.asarray(Image.open(folder / closed.snapshot))) == 33, "the highest"
    assert number_in(np.asarray(Image.open(folder / opened.snapshot))) == 32, "the highest so far"
    plain, heat = (np.asarray(Image.open(folder / path)).astype(int) for path in (closed.snapshot, closed.heat_map))
    assert np.abs(heat - plain)[:, :14].mean() > 20 and np.abs(heat - plain)[:, 20:].mean() < 3
    assert closed.problems == () and not list(folder.rglob("*.frames"))


def test_a_clip_cannot_start_before_the_recording(tmp_path):
    with Scene(tmp_path) as scene:
        scene.watch([4.0] * 10)
        (_, closed) = scene.end()
    assert clip_numbers(tmp_path / "events" / closed.clip) == list(range(10))


def test_a_clip_is_written_after_its_time_even_without_more_frames(tmp_path):
    with Scene(tmp_path) as scene:
        scene.watch([4.0] * 5)
        for event in scene.events.tick(T0 + 10):
            scene.recorder.take(event)
        assert len(scene.sink.messages) <= 1
        scene.recorder.tick(T0 + 10)
        assert [event.clip is None for event in scene.end()] == [True, False]


def test_without_clips_or_maps_there_is_only_a_snapshot(tmp_path):
    with Scene(tmp_path, options={"clips": False}, scale=None) as scene:
        scene.watch(QUIET_LOUD_QUIET)
        (_, closed) = scene.end()
    assert closed.snapshot is not None and closed.clip is None and closed.heat_map is None and closed.problems == ()


def test_a_heat_map_below_the_pixel_threshold_is_visible(tmp_path):
    with Scene(tmp_path, scale=HeatScale(SCALE.spec, 100.0, 50.0, 200.0)) as scene:
        scene.watch(QUIET_LOUD_QUIET)
        (_, closed) = scene.end()
    images = [Image.open(tmp_path / "events" / path) for path in (closed.snapshot, closed.heat_map)]
    plain, heat = (np.asarray(image).astype(int) for image in images)
    assert np.abs(heat - plain)[:, :14].mean() > 20 and np.abs(heat - plain)[:, 20:].mean() < 3


def test_consecutive_events_have_their_own_files(tmp_path):
    rules = EventRules(min_duration_s=0.4, merge_gap_s=1.0, max_duration_s=2.0)
    with Scene(tmp_path, rules=rules) as scene:
        scene.watch([1.0] * 5 + [4.0] * 15 + [8.0] + [4.0] * 4 + [1.0] * 15)
        events = [event for event in scene.end() if event.state == "closed"]
    assert [event.continues for event in events] == [None, events[0].id]
    first, second = (clip_numbers(tmp_path / "events" / event.clip) for event in events)
    assert first == list(range(21)) and second == list(range(5, 31))
    highest_frames = [number_in(np.asarray(Image.open(tmp_path / "events" / event.snapshot))) for event in events]
    assert highest_frames == [5, 20]


@pytest.mark.parametrize("failing_part", ["scratch", "clip", "image"])
def test_on_a_full_disk_the_event_is_delivered_without_its_files(tmp_path, monkeypatch, failing_part):
    def raise_disk_full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Scene(tmp_path) as scene:
        if failing_part == "scratch":
            monkeypatch.setattr(clips.EventFrames, "_open", raise_disk_full)
        elif failing_part == "clip":
            monkeypatch.setattr(clips.Mp4File, "add", raise_disk_full)
        else:
            monkeypatch.setattr("offnormal.recording.recorder._write_jpeg", raise_disk_full)
        scene.watch(QUIET_LOUD_QUIET)
        events = scene.end()
    assert [event.state for event in events] == ["open", "closed"]
    assert "No space left" in events[1].problems[-1] or "disk is full" in events[1].problems[-1]
    assert (events[1].snapshot is None) == (failing_part == "image") or failing_part == "scratch"
    assert (events[1].clip is None) == (failing_part != "image")
    assert not list((tmp_path / "events").rglob("*.partial*"))


def test_an_error_in_drawing_loses_no_event(tmp_path, monkeypatch):
    monkeypatch.setattr("offnormal.recording.recorder.heat_map", lambda *_: 1 / 0)
    with Scene(tmp_path) as scene:
        scene.watch(QUIET_LOUD_QUIET)
        (_, closed) = scene.end()
    assert "division by zero" in closed.problems[0] and closed.clip is not None


def test_a_closed_event_is_stored_before_its_clip_is_written(tmp_path):
    scene = Scene(tmp_path, options={"post_roll_s": 5})
    scene.watch(QUIET_LOUD_QUIET[:50])
    (held,) = scene.dispatcher._spool.held_events()
    assert held[0].state == "closed" and scene.dispatcher._spool.count_waiting("kept") <= 1
    scene.worker.close(20)
    again = Scene(tmp_path)
    with again:
        assert again.dispatcher.drain(20)
    assert [message.event.state for message in again.sink.messages][-1] == "closed"
    assert not list((tmp_path / "events").rglob("*.frames")), "scratch of the killed program"


def test_an_event_that_was_open_at_a_restart_has_a_problem(tmp_path):
    with Scene(tmp_path) as scene:
        scene.watch([4.0] * 10)
        saved = scene.events.state()
    with Scene(tmp_path) as scene:
        scene.events.restore(saved)
        scene.watch([1.0] * 20, start=10)
        (closed,) = scene.end()
    assert closed.problems == (RESTARTED,)


def test_images_do_not_wait_for_clips_and_openings_come_first(tmp_path):
    with Scene(tmp_path) as scene:
        go = threading.Event()
        scene.worker.submit_clip(lambda: go.wait(20), 1)  # a long clip of another camera
        scene.watch(QUIET_LOUD_QUIET)
        until(lambda: scene.sink.messages)
        assert [message.transition for message in scene.sink.messages] == ["opened"]
        go.set()
        assert [message.state for message in scene.end()] == ["open", "closed"]
    with Scene(tmp_path / "b") as scene:
        go = threading.Event()
        scene.worker.submit(lambda: go.wait(20))  # images are slow, clips are not
        scene.watch(QUIET_LOUD_QUIET)
        time.sleep(0.3)
        assert not scene.sink.messages
        go.set()
        assert [message.state for message in scene.end()] == ["open", "closed"]


def test_events_of_the_camera_itself_are_delivered(tmp_path):
    with Scene(tmp_path) as scene:
        for over in (False, True):
            scene.recorder.take(camera_event("porch", "frozen", T0, T0 + 5, is_over=over))
        assert [event.kind for event in scene.end()] == ["frozen", "frozen"]


def test_full_queues_cost_images_but_no_events(tmp_path):
    with Scene(tmp_path) as scene:
        scene.worker.submit = lambda _: False
        scene.worker.submit_clip = lambda _, __: False
        scene.watch(QUIET_LOUD_QUIET)
        assert [event.problems for event in scene.end()] == [(QUEUE_FULL,), (QUEUE_FULL,)]


def test_odd_and_changing_sizes_are_recorded(tmp_path):
    frames = [np.full((49, 63, 3), 90, np.uint8)] * 32 + [np.full((120, 160, 3), 90, np.uint8)] * 40
    with Scene(tmp_path, scale=None) as scene:
        scene.watch(QUIET_LOUD_QUIET, frames)
        (_, closed) = scene.end()
    with av.open(str(tmp_path / "events" / closed.clip)) as container:
        shapes = {frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)}
    assert shapes == {(48, 62, 3)}


def test_frames_without_scores_are_recorded(tmp_path):
    with Scene(tmp_path) as scene:
        scene.watch([math.nan] * 10 + [4.0] * 6 + [math.nan] * 20)
        (_, closed) = scene.end()
    assert clip_numbers(tmp_path / "events" / closed.clip) == list(range(22))


def test_jobs_run_in_order_and_a_failed_one_stops_no_other(caplog):
    worker, done = MediaWorker(), []
    worker.submit(lambda: done.append("first"))
    worker.submit(lambda: 1 / 0)
    worker.submit(lambda: done.append("third"))
    assert worker.close(20) and done == ["first", "third"]
    assert "ZeroDivisionError" in caplog.text


def test_a_full_queue_refuses_jobs_and_close_warns_of_unwritten_ones(monkeypatch, caplog):
    monkeypatch.setattr("offnormal.recording.recorder._MAX_JOBS", 2)
    worker, go, busy = MediaWorker(), threading.Event(), threading.Event()
    worker.submit(lambda: (busy.set(), go.wait(20)))
    assert busy.wait(20)
    assert [worker.submit(busy.clear) for _ in range(3)] == [True, True, False]
    assert not worker.close(0.0) and busy.is_set()
    assert "not written before exit: 2 images" in caplog.text
    go.set()


def test_frames_that_wait_for_their_clips_are_bounded(monkeypatch):
    monkeypatch.setattr("offnormal.recording.recorder._MAX_BYTES", 100)
    worker, go = MediaWorker(), threading.Event()
    assert worker.submit_clip(lambda: go.wait(20), 150), "a first clip of any size is accepted"
    assert not worker.submit_clip(go.set, 1)
    go.set()
    until(lambda: worker.submit_clip(go.set, 90))
    assert worker.close(20)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_worker_sweeps_when_idle_and_after_a_clip(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr("offnormal.recording.recorder.SWEEP_S", 0.02 if quiet else 60.0)
    events = tmp_path / "events"
    write_event(tmp_path / "made", 2)
    shutil.copytree(tmp_path / "made", events)  # complete before the first sweep, with the modification times
    retention = Retention(events, days=None, gigabytes=1e-9)
    worker = MediaWorker(retention)
    if not quiet:
        worker.submit_clip(lambda: None, 1)
    end_s = time.monotonic() + 20
    while retention._last_sweep_s is None:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert worker.close(20)
    assert remaining_ids(events) == []
