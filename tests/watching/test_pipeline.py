import json
import logging
import shutil
import threading
import time
import urllib.request

import av
import numpy as np
import pytest

from offnormal.bundle import Bundle
from offnormal.detectors.base import DetectorOptions
from offnormal.errors import OffnormalError
from offnormal.scoring import Scorer
from offnormal.scoring.stream import FrameStream
from offnormal.sources.camera import Camera
from offnormal.types import Event, Frame
from offnormal.verbs import watch as watch_verb
from offnormal.verbs.watch import Watch
from offnormal.watching.config import WatchConfig
from offnormal.watching.pipeline import ComputeThread, TimeSlices
from tests.footage import FPS, film
from tests.scoring.test_live import SPECS, Change, Learner
from tests.servers import RtspServer, free_port
from tests.sinks.hook import hook
from tests.video_files import write_video
from tests.watching.yard import ODD, QUICK_RECORD, QUICK_RULES

LONG_S = 30  # longer than any test
PATIENCE = {"open_s": 6, "stall_s": 1.5, "retry_s": 0.1, "cap_s": 0.5}


class Live:
    """Watches in a thread inside the block, and records the events."""

    def __init__(self, out, yard, cameras, **options):
        values = {"bundle": yard / "bundle", "out": out, "rules": QUICK_RULES, "record": QUICK_RECORD, "threads": 1}
        self.events: list[Event] = []
        config = {**values, "patience": PATIENCE, **options, "cameras": cameras}
        self._manager = Watch(WatchConfig.model_validate(config)).running(self.events.append)

    def __enter__(self):
        self.running = self._manager.__enter__()
        self._thread = threading.Thread(target=self.running.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self.running.stop()
        self._thread.join(LONG_S)
        self._manager.__exit__(*exception)
        assert not self._thread.is_alive()

    def until(self, condition):
        end_s = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < end_s, [(camera.camera, camera.kind, camera.state) for camera in self.events]
            time.sleep(0.02)

    def camera(self, name):
        return next(camera for camera in self.running.cameras if camera.name == name)

    def closed(self, kind="anomaly"):
        return [event for event in self.events if event.kind == kind and event.state == "closed"]


@pytest.fixture
def server(yard, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(yard / "odd.mp4", folder)
    rtsp_server = RtspServer(folder)
    yield rtsp_server
    rtsp_server.kill()


@pytest.mark.slow
def test_a_camera_with_sinks_reconnects_after_its_server_was_killed(server, yard, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    source = server.url("odd.mp4", "user:secret@")
    with hook() as endpoint:
        sinks = [f"jsonl:{tmp_path / 'events.jsonl'}", f"webhook:{endpoint.url}"]
        metrics = str(free_port())
        with Live(tmp_path / "out", yard, [{"name": "gate", "source": source}], sinks=sinks, metrics=metrics) as live:
            live.until(lambda: len(live.closed()) == 1)
            server.kill()
            live.until(lambda: live.running.sources["gate"].status.state == "offline")
            server.start()
            live.until(lambda: len(live.closed()) == 2)  # played again from the start
            with urllib.request.urlopen(live.running.metrics_url, timeout=10) as answer:
                page = answer.read().decode()
            counts = live.camera("gate").counts
        bodies = [json.loads(body) for _, body in endpoint.posts]
    first = live.closed()[0]
    assert first.duration_s == pytest.approx((ODD[1] - ODD[0]) / FPS, abs=0.4)
    assert abs(first.start.timestamp() - time.time()) < LONG_S
    rows = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows if row["kind"] == "anomaly"] == [event.id for event in live.closed()]
    ids = [body["id"] for body in bodies if body["event"]["kind"] == "anomaly"]
    assert ids == [f"{event.id}-{transition}" for event in live.closed() for transition in ("opened", "closed")]
    with av.open(str(tmp_path / "out" / "events" / first.clip)) as clip:
        frames, times = zip(
            *((frame.to_ndarray(format="rgb24"), frame.time) for frame in clip.decode(video=0)), strict=True
        )
    assert len(frames) >= ODD[1] - ODD[0] + FPS - 4, "no frame is lost; frames of a burst are closer together"
    assert times[-1] - times[0] == pytest.approx(first.duration_s + 1, abs=0.3)  # half a second before and after it
    bright = [frame[8:20, 10:22].mean() > 200 for frame in frames]
    assert bright[len(bright) // 2] and not bright[0] and not bright[-1], "before, during, and after"
    assert 'offnormal_gaps_total{camera="gate"}' in page and 'stage="source"} 0' in page
    assert counts.lag.counts[-1] == 0 and counts.dropped == 0
    assert "secret" not in caplog.text + page + (tmp_path / "events.jsonl").read_text()


def test_many_cameras_are_scored_together_and_have_separate_events(yard, tmp_path):
    cameras = [{"name": f"c{i}", "source": str(yard / "odd.mp4")} for i in range(3)]
    cameras += [{"name": "calm", "source": str(yard / "calm.mp4"), "threshold": 1e9}]
    with Live(tmp_path, yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())  # recordings end
    assert sorted(event.camera for event in live.closed()) == ["c0", "c1", "c2"]
    assert {event.position_s for event in live.closed()} == {ODD[0] / FPS}
    assert live.camera("calm").counts.scored == 600, "no frame of a recording is dropped"
    assert all(event.clip is not None and event.problems == () for event in live.closed())


def test_several_bundles_and_their_thresholds_are_computed_in_one_thread(yard, tmp_path, monkeypatch):
    """With several compute threads, OpenMP would put workers to sleep."""
    threads = {"load": set(), "score": set()}
    load, score = watch_verb.load, Scorer.score_streams

    def loaded(*options):
        threads["load"].add(threading.current_thread())
        return load(*options)

    def scored(*options):
        threads["score"].add(threading.current_thread())
        return score(*options)

    monkeypatch.setattr(watch_verb, "load", loaded)
    monkeypatch.setattr(Scorer, "score_streams", scored)
    shutil.copytree(yard / "bundle", tmp_path / "second.bundle")
    rate = {"rate": "200/hour", "calibrate_on": [str(yard / "calm.mp4")]}
    cameras = [
        {"name": "first", "source": str(yard / "odd.mp4"), **rate},
        {"name": "second", "source": str(yard / "odd.mp4"), "bundle": str(tmp_path / "second.bundle")},
    ]
    with Live(tmp_path / "out", yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    assert len(live.running.groups) == 2
    assert {camera.name for camera in live.running.cameras if camera.counts.scored} == {"first", "second"}
    assert threads["load"] == threads["score"]
    assert len(threads["load"]) == 1


class GatedScorer:
    """Delays the scoring while `gate` is not set."""

    def __init__(self, monkeypatch):
        self.gate, score = threading.Event(), Scorer.score_streams
        self.gate.set()
        self.calls = self.finished = 0

        def scored(*options):
            self.calls += 1
            self.gate.wait(LONG_S)
            scores = score(*options)
            self.finished += 1
            return scores

        monkeypatch.setattr(Scorer, "score_streams", scored)


def test_scores_after_the_end_are_ignored(yard, tmp_path, monkeypatch):
    """An event is open, and a batch takes longer than the program has to end."""
    gated = GatedScorer(monkeypatch)
    camera = {"name": "gate", "source": str(yard / "odd.mp4"), "realtime": True}
    with Live(tmp_path, yard, [camera]) as live:
        live.until(lambda: live.events)
        gated.gate.clear()
        live.until(lambda: gated.calls > gated.finished)
        live.running.stop()
        live._thread.join(LONG_S / 2)
        assert not live._thread.is_alive() and gated.calls > gated.finished
        assert live.running.hanging == 1
        live.running.close()
        state = (tmp_path / "state").glob("*.json")
        before = [path.read_bytes() for path in state]
        (closed,), scored = live.closed(), live.camera("gate").counts.scored
        gated.gate.set()
        live.until(lambda: not live.running.hanging)
        assert [path.read_bytes() for path in (tmp_path / "state").glob("*.json")] == before
        assert live.camera("gate").counts.scored == scored
    assert [(event.id, event.state) for event in live.events] == [(closed.id, "open"), (closed.id, "closed")]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("odd")])
def test_frames_that_cannot_be_scored_are_skipped_and_affect_no_other(yard, tmp_path, monkeypatch, caplog, error):
    score = Scorer.score_streams

    def scored(self, pixels, streams):
        if "bad" in streams:
            raise error
        return score(self, pixels, streams)

    monkeypatch.setattr(Scorer, "score_streams", scored)
    cameras = [{"name": name, "source": str(yard / "odd.mp4")} for name in ("bad", "good")]
    with Live(tmp_path, yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    assert [event.camera for event in live.closed()] == ["good"]
    bad, good = live.camera("bad").counts, live.camera("good").counts
    assert (bad.scored, bad.unscored) == (0, 80)
    assert (good.scored, good.unscored) == (80, 0)
    assert caplog.text.count(str(error)) == 1 + caplog.text.count(f"Error: {error}"), "logged once, with a traceback"


def test_frames_do_not_accumulate_if_no_clip_is_ever_complete(yard, tmp_path, monkeypatch):
    """One of every four frames is lost, and a clip has five."""
    write_video(tmp_path / "long.mp4", film(4, frames=200), fps=FPS)
    detector = Change(DetectorOptions(), SPECS["prediction"])
    monkeypatch.setattr("offnormal.verbs.watch.load", lambda path: Bundle(detector, None, {}, path, "stub"))
    take, waiting = Camera.take, []

    def losing(self, wait_s):
        item = take(self, wait_s)
        time.sleep(0.01)  # slower than gaps are checked
        return take(self, wait_s) if isinstance(item, Frame) and item.index % 4 == 3 else item

    add_frame = FrameStream.add_frame
    monkeypatch.setattr(Camera, "take", losing)
    monkeypatch.setattr(
        FrameStream, "add_frame", lambda self, frame: (add_frame(self, frame), waiting.append(len(self._frames)))
    )
    camera = {"name": "gate", "source": str(tmp_path / "long.mp4"), "threshold": 1.0}
    with Live(tmp_path / "out", yard, [camera]) as live:
        live.until(lambda: not live._thread.is_alive())
    counts = live.camera("gate").counts
    assert (counts.scored, counts.unscored) == (0, 150)
    assert max(waiting) < 130


def test_a_slow_bundle_does_not_keep_another_waiting(yard, tmp_path, monkeypatch):
    score = Scorer.score_streams

    def scored(self, pixels, streams):
        if "quick" not in streams:
            time.sleep(0.1 * len(streams))
        return score(self, pixels, streams)

    monkeypatch.setattr(Scorer, "score_streams", scored)
    shutil.copytree(yard / "bundle", tmp_path / "slow.bundle")
    slow = [{"name": f"slow{i}", "bundle": str(tmp_path / "slow.bundle")} for i in range(4)]
    cameras = [{**camera, "source": str(yard / "odd.mp4"), "realtime": True} for camera in [{"name": "quick"}, *slow]]
    with Live(tmp_path / "out", yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    quick = live.camera("quick").counts
    dropped = sum(live.camera(camera["name"]).counts.dropped for camera in slow)
    assert dropped > 80, "otherwise nothing is slow"
    assert quick.dropped <= 8
    assert quick.scored + quick.dropped >= 80


def test_an_unreadable_recording_affects_no_other(yard, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    cameras = [{"name": name, "source": str(folder / f"{name}.mp4")} for name, folder in
               (("broken", tmp_path), ("odd", yard))]  # fmt: skip
    with Live(tmp_path / "out", yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    assert [event.camera for event in live.closed()] == ["odd"]
    assert list(live.running.failed) == ["broken"]


def test_a_scene_change_is_an_event_and_raises_no_anomaly(yard, tmp_path):
    frames = film(3, frames=160)
    for i in range(60, 160):
        frames[i] = 255 - frames[i] // 2  # the light is switched
    write_video(tmp_path / "light.mp4", frames, fps=FPS)
    with Live(tmp_path / "out", yard, [{"source": str(tmp_path / "light.mp4")}], health={"settle_s": 20}) as live:
        live.until(lambda: not live._thread.is_alive())
    (change,) = live.closed("scene_change")
    assert change.start.timestamp() == pytest.approx(6.0, abs=0.2) and change.detail == "the program ended"
    assert change.position_s == pytest.approx(6.0, abs=0.2)
    assert live.closed() == []
    assert live.camera("light").events.suppressed_scores > 50


def test_each_image_of_a_folder_is_another_part(yard, tmp_path):
    folder = tmp_path / "line"
    folder.mkdir()
    from PIL import Image

    good, bad = film(4, frames=4), film(4, frames=4, anomaly=(0, 4))
    with Live(tmp_path / "out", yard, [{"source": str(folder)}], rules={"merge_gap": 0.2, "max_gap": 0.3}) as live:
        live.until(lambda: live.running.sources["line"].status.attempts)
        time.sleep(0.3)  # existing files are skipped
        for i, picture in enumerate([good[0], bad[1], good[2]]):
            Image.fromarray(np.asarray(picture)).save(folder / f"{i}.png")
            live.until(lambda i=i: live.camera("line").counts.scored == i + 1)
        live.until(lambda: len(live.closed()) == 1)
    assert {event.kind for event in live.events} == {"anomaly"}, "an empty line is not a fault of the camera"


@pytest.mark.parametrize("kind", [*SPECS, "learner"])
def test_clips_windows_and_states_belong_to_one_camera(yard, tmp_path, monkeypatch, kind):
    """Two recordings scored together have the same scores as alone."""
    spec = SPECS.get(kind, SPECS["image"])
    detector = (Learner if kind == "learner" else Change)(DetectorOptions(), spec)
    monkeypatch.setattr("offnormal.verbs.watch.load", lambda path: Bundle(detector, None, {}, path, "stub"))
    write_video(tmp_path / "b.mp4", film(4, frames=60), fps=FPS)
    cameras = [{"name": name, "source": str(path)} for name, path in
               (("a", yard / "odd.mp4"), ("b", tmp_path / "b.mp4"))]  # fmt: skip
    always = {"threshold": -1.0, "rules": {"min_duration": 0, "max_gap": 5}, "record": {"clips": False}}
    alone = {}
    for camera in cameras:
        config = {"bundle": yard / "bundle", "out": tmp_path, "cameras": [camera], **always}
        (run,) = Watch(WatchConfig.model_validate(config)).dry_runs()
        alone[camera["name"]] = [event.scores for event in run.events]
    with Live(tmp_path / "out", yard, cameras, **always) as live:
        live.until(lambda: not live._thread.is_alive())
    for name, expected in alone.items():
        assert expected and len(expected[0]) > 30
        scores = [event.scores for event in live.closed() if event.camera == name]
        times = [[[time_s for time_s, _ in points] for points in series] for series in (scores, expected)]
        assert times[0] == times[1]
        np.testing.assert_allclose(np.concatenate(scores), np.concatenate(expected), rtol=1e-4)


def test_a_single_bundle_has_no_limit():
    slices = TimeSlices(bundles=1)
    slices.record("alone", 1, 9.0)
    assert slices.clips("alone") is None


def test_a_slice_has_as_many_clips_as_fit_in_a_quarter_of_a_second():
    slices = TimeSlices(bundles=2)
    assert slices.clips("new") == 1
    slices.record("quick", 1, 0.05)
    assert slices.clips("quick") == 5
    slices.record("quick", 5, 0.5)  # 0.1 s each: a fifth of the way from 0.05 s is 0.06 s
    assert slices.clips("quick") == 4


def test_a_slow_bundle_has_one_clip_and_one_more_after_a_short_slice():
    slices = TimeSlices(bundles=2)
    slices.record("slow", 1, 2.0)
    assert slices.clips("slow") == 1
    slices.record("slow start", 1, 0.2)  # may include one-time costs
    assert slices.clips("slow start") == 2
    slices.record("slow start", 0, 5.0)  # no clip: no measurement
    assert slices.clips("slow start") == 2


def test_everything_is_computed_in_one_thread_and_errors_are_raised():
    compute = ComputeThread()
    first, second = (compute.run(threading.current_thread) for _ in range(2))
    assert first is second is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        compute.run(lambda: 1 / 0)
    compute.check()


def test_an_interrupt_ends_running_work(monkeypatch):
    compute, interrupted = ComputeThread(), threading.Event()

    class Interrupted:
        def result(self):
            raise KeyboardInterrupt

    def work():
        end_s = time.monotonic() + 5
        try:
            while time.monotonic() < end_s:
                compute.check()
        except OffnormalError:
            interrupted.set()

    submit = compute.submit
    monkeypatch.setattr(compute, "submit", lambda *options: (submit(*options), Interrupted())[1])
    with pytest.raises(KeyboardInterrupt):
        compute.run(work)
    compute.shutdown()
    assert interrupted.is_set()
