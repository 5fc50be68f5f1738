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

LONG_S = 30  # more than any of this takes
PATIENCE = {"open_s": 6, "stall_s": 1.5, "retry_s": 0.1, "cap_s": 0.5}


class Live:
    """Watches in a thread while the block lasts, and keeps what is told."""

    def __init__(self, out, yard, cameras, **given):
        values = {"bundle": yard / "bundle", "out": out, "rules": QUICK_RULES, "record": QUICK_RECORD, "threads": 1}
        self.told: list[Event] = []
        config = {**values, "patience": PATIENCE, **given, "cameras": cameras}
        self._manager = Watch(WatchConfig.model_validate(config)).running(self.told.append)

    def __enter__(self):
        self.running = self._manager.__enter__()
        self._thread = threading.Thread(target=self.running.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *faults):
        self.running.stop()
        self._thread.join(LONG_S)
        self._manager.__exit__(*faults)
        assert not self._thread.is_alive()

    def until(self, true):
        end_s = time.monotonic() + LONG_S
        while not true():
            assert time.monotonic() < end_s, [(one.camera, one.kind, one.state) for one in self.told]
            time.sleep(0.02)

    def camera(self, name):
        return next(one for one in self.running.cameras if one.name == name)

    def closed(self, kind="anomaly"):
        return [event for event in self.told if event.kind == kind and event.state == "closed"]


@pytest.fixture
def server(yard, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(yard / "odd.mp4", folder)
    made = RtspServer(folder)
    yield made
    made.kill()


@pytest.mark.slow
def test_a_camera_with_sinks_whose_server_is_killed_and_comes_back(server, yard, tmp_path, caplog):
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
            live.until(lambda: len(live.closed()) == 2)  # played from its start again
            with urllib.request.urlopen(live.running.metrics_url, timeout=10) as answer:
                page = answer.read().decode()
            counted = live.camera("gate").counted
        bodies = [json.loads(body) for _, body in endpoint.posts]
    first = live.closed()[0]
    assert first.duration_s == pytest.approx((ODD[1] - ODD[0]) / FPS, abs=0.4)
    assert abs(first.start.timestamp() - time.time()) < LONG_S
    rows = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows if row["kind"] == "anomaly"] == [event.id for event in live.closed()]
    ids = [body["id"] for body in bodies if body["event"]["kind"] == "anomaly"]
    assert ids == [f"{event.id}-{what}" for event in live.closed() for what in ("opened", "closed")]
    with av.open(str(tmp_path / "out" / "events" / first.clip)) as clip:
        frames, times = zip(
            *((frame.to_ndarray(format="rgb24"), frame.time) for frame in clip.decode(video=0)), strict=True
        )
    assert len(frames) >= ODD[1] - ODD[0] + FPS - 4, "none is lost; those of a burst lie closer together"
    assert times[-1] - times[0] == pytest.approx(first.duration_s + 1, abs=0.3)  # half a second before it and behind it
    bright = [frame[8:20, 10:22].mean() > 200 for frame in frames]
    assert bright[len(bright) // 2] and not bright[0] and not bright[-1], "before, during and after"
    assert 'offnormal_gaps_total{camera="gate"}' in page and 'where="source"} 0' in page
    assert counted.lag.counts[-1] == 0 and counted.dropped == 0
    assert "secret" not in caplog.text + page + (tmp_path / "events.jsonl").read_text()


def test_many_cameras_are_scored_together_each_with_events_of_its_own(yard, tmp_path):
    cameras = [{"name": f"c{i}", "source": str(yard / "odd.mp4")} for i in range(3)]
    cameras += [{"name": "calm", "source": str(yard / "calm.mp4"), "threshold": 1e9}]
    with Live(tmp_path, yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())  # recordings end
    assert sorted(event.camera for event in live.closed()) == ["c0", "c1", "c2"]
    assert {event.position_s for event in live.closed()} == {ODD[0] / FPS}
    assert live.camera("calm").counted.scored == 600, "nothing is dropped of a recording"
    assert all(event.clip is not None and event.problems == () for event in live.closed())


def test_several_bundles_and_their_thresholds_are_computed_in_one_thread(yard, tmp_path, monkeypatch):
    """Of several threads that compute, OpenMP's workers would put each other to sleep."""
    threads = {"load": set(), "score": set()}
    load, score = watch_verb.load, Scorer.score_streams

    def loaded(*given):
        threads["load"].add(threading.current_thread())
        return load(*given)

    def scored(*given):
        threads["score"].add(threading.current_thread())
        return score(*given)

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
    assert {one.name for one in live.running.cameras if one.counted.scored} == {"first", "second"}
    assert threads["load"] == threads["score"]
    assert len(threads["load"]) == 1


class Held:
    """Holds the scoring up while `closed`; what is scored is not."""

    def __init__(self, monkeypatch):
        self.gate, score = threading.Event(), Scorer.score_streams
        self.gate.set()
        self.calls = self.over = 0

        def scored(*given):
            self.calls += 1
            self.gate.wait(LONG_S)
            found = score(*given)
            self.over += 1
            return found

        monkeypatch.setattr(Scorer, "score_streams", scored)


def test_scores_that_come_after_the_end_change_nothing(yard, tmp_path, monkeypatch):
    """An event is open, and a batch takes longer than the program is given to end."""
    held = Held(monkeypatch)
    camera = {"name": "gate", "source": str(yard / "odd.mp4"), "realtime": True}
    with Live(tmp_path, yard, [camera]) as live:
        live.until(lambda: live.told)
        held.gate.clear()
        live.until(lambda: held.calls > held.over)
        live.running.stop()
        live._thread.join(LONG_S / 2)
        assert not live._thread.is_alive() and held.calls > held.over
        assert live.running.hanging == 1
        live.running.close()
        state = (tmp_path / "state").glob("*.json")
        before = [path.read_bytes() for path in state]
        (closed,), scored = live.closed(), live.camera("gate").counted.scored
        held.gate.set()
        live.until(lambda: not live.running.hanging)
        assert [path.read_bytes() for path in (tmp_path / "state").glob("*.json")] == before
        assert live.camera("gate").counted.scored == scored
    assert [(event.id, event.state) for event in live.told] == [(closed.id, "open"), (closed.id, "closed")]


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), ValueError("odd")])
def test_frames_that_cannot_be_scored_harm_no_other_camera_and_are_let_go(yard, tmp_path, monkeypatch, caplog, fault):
    score = Scorer.score_streams

    def scored(self, pixels, streams):
        if "bad" in streams:
            raise fault
        return score(self, pixels, streams)

    monkeypatch.setattr(Scorer, "score_streams", scored)
    cameras = [{"name": name, "source": str(yard / "odd.mp4")} for name in ("bad", "good")]
    with Live(tmp_path, yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    assert [event.camera for event in live.closed()] == ["good"]
    bad, good = live.camera("bad").counted, live.camera("good").counted
    assert (bad.scored, bad.unscored) == (0, 80)
    assert (good.scored, good.unscored) == (80, 0)
    assert caplog.text.count(str(fault)) == 1 + caplog.text.count(f"Error: {fault}"), "told once, with a trace"


def test_frames_do_not_pile_up_where_no_clip_is_ever_complete(yard, tmp_path, monkeypatch):
    """Of every four frames one is lost, and a clip takes five."""
    write_video(tmp_path / "long.mp4", film(4, frames=200), fps=FPS)
    detector = Change(DetectorOptions(), SPECS["prediction"])
    monkeypatch.setattr("offnormal.verbs.watch.load", lambda path: Bundle(detector, None, {}, path, "stub"))
    take, most = Camera.take, []

    def losing(self, wait_s):
        item = take(self, wait_s)
        time.sleep(0.01)  # slower than gaps are looked at
        return take(self, wait_s) if isinstance(item, Frame) and item.index % 4 == 3 else item

    seen = FrameStream.see
    monkeypatch.setattr(Camera, "take", losing)
    monkeypatch.setattr(FrameStream, "see", lambda self, frame: (seen(self, frame), most.append(len(self._frames))))
    camera = {"name": "gate", "source": str(tmp_path / "long.mp4"), "threshold": 1.0}
    with Live(tmp_path / "out", yard, [camera]) as live:
        live.until(lambda: not live._thread.is_alive())
    counted = live.camera("gate").counted
    assert (counted.scored, counted.unscored) == (0, 150)
    assert max(most) < 130


def test_a_slow_bundle_does_not_keep_another_waiting(yard, tmp_path, monkeypatch):
    score = Scorer.score_streams

    def scored(self, pixels, streams):
        if "quick" not in streams:
            time.sleep(0.1 * len(streams))
        return score(self, pixels, streams)

    monkeypatch.setattr(Scorer, "score_streams", scored)
    shutil.copytree(yard / "bundle", tmp_path / "slow.bundle")
    slow = [{"name": f"slow{i}", "bundle": str(tmp_path / "slow.bundle")} for i in range(4)]
    cameras = [{**one, "source": str(yard / "odd.mp4"), "realtime": True} for one in [{"name": "quick"}, *slow]]
    with Live(tmp_path / "out", yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    quick = live.camera("quick").counted
    dropped = sum(live.camera(one["name"]).counted.dropped for one in slow)
    assert dropped > 80, "otherwise nothing is slow"
    assert quick.dropped <= 8
    assert quick.scored + quick.dropped >= 80


def test_one_that_cannot_be_read_harms_no_other(yard, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    cameras = [{"name": name, "source": str(folder / f"{name}.mp4")} for name, folder in
               (("broken", tmp_path), ("odd", yard))]  # fmt: skip
    with Live(tmp_path / "out", yard, cameras) as live:
        live.until(lambda: not live._thread.is_alive())
    assert [event.camera for event in live.closed()] == ["odd"]
    assert list(live.running.failed) == ["broken"]


def test_a_change_of_the_whole_scene_is_told_and_raises_no_anomaly(yard, tmp_path):
    frames = film(3, frames=160)
    for i in range(60, 160):
        frames[i] = 255 - frames[i] // 2  # the light is switched
    write_video(tmp_path / "light.mp4", frames, fps=FPS)
    with Live(tmp_path / "out", yard, [{"source": str(tmp_path / "light.mp4")}], health={"settle_s": 20}) as live:
        live.until(lambda: not live._thread.is_alive())
    (change,) = live.closed("scene_change")
    assert change.start.timestamp() == pytest.approx(6.0, abs=0.2) and change.detail == "the program ended"
    assert live.closed() == []
    assert live.camera("light").events.suppressed_scores > 50


def test_pictures_of_a_folder_are_parts_each_of_its_own(yard, tmp_path):
    folder = tmp_path / "line"
    folder.mkdir()
    from PIL import Image

    good, bad = film(4, frames=4), film(4, frames=4, anomaly=(0, 4))
    with Live(tmp_path / "out", yard, [{"source": str(folder)}], rules={"merge_gap": 0.2, "gap": 0.3}) as live:
        live.until(lambda: live.running.sources["line"].status.attempts)
        time.sleep(0.3)  # what lies there already is passed over
        for i, picture in enumerate([good[0], bad[1], good[2]]):
            Image.fromarray(np.asarray(picture)).save(folder / f"{i}.png")
            live.until(lambda i=i: live.camera("line").counted.scored == i + 1)
        live.until(lambda: len(live.closed()) == 1)
    assert {event.kind for event in live.told} == {"anomaly"}, "an empty line is no trouble of the camera"


@pytest.mark.parametrize("kind", [*SPECS, "learner"])
def test_clips_windows_and_states_are_each_camera_s_own(yard, tmp_path, monkeypatch, kind):
    """What two recordings give side by side is what each gives alone."""
    spec = SPECS.get(kind, SPECS["picture"])
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
        found = [event.scores for event in live.closed() if event.camera == name]
        assert [[point[0] for point in one] for one in found] == [[point[0] for point in one] for one in expected]
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=1e-4)


def test_a_bundle_alone_has_all_the_time():
    slices = TimeSlices(bundles=1)
    slices.took("alone", 1, 9.0)
    assert slices.clips("alone") is None


def test_a_slice_holds_as_many_clips_as_a_quarter_of_a_second_does():
    slices = TimeSlices(bundles=2)
    assert slices.clips("new") == 1
    slices.took("quick", 1, 0.05)
    assert slices.clips("quick") == 5
    slices.took("quick", 5, 0.5)  # 0.1 s each: a fifth of the way from 0.05 s is 0.06 s
    assert slices.clips("quick") == 4


def test_a_slow_bundle_has_one_clip_and_one_more_after_a_slice_that_was_short_enough():
    slices = TimeSlices(bundles=2)
    slices.took("slow", 1, 2.0)
    assert slices.clips("slow") == 1
    slices.took("dear at first", 1, 0.2)  # much of which may not be the clip's
    assert slices.clips("dear at first") == 2
    slices.took("dear at first", 0, 5.0)  # no clip: nothing is learned
    assert slices.clips("dear at first") == 2


def test_everything_is_computed_in_one_thread_and_errors_come_back():
    compute = ComputeThread()
    first, second = (compute.run(threading.current_thread) for _ in range(2))
    assert first is second is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        compute.run(lambda: 1 / 0)
    compute.check()


def test_what_still_runs_when_the_user_interrupts_is_ended(monkeypatch):
    compute, ended = ComputeThread(), threading.Event()

    class Interrupted:
        def result(self):
            raise KeyboardInterrupt

    def work():
        end_s = time.monotonic() + 5
        try:
            while time.monotonic() < end_s:
                compute.check()
        except OffnormalError:
            ended.set()

    submit = compute.submit
    monkeypatch.setattr(compute, "submit", lambda *given: (submit(*given), Interrupted())[1])
    with pytest.raises(KeyboardInterrupt):
        compute.run(work)
    compute.shutdown()
    assert ended.is_set()
