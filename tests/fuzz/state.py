"""Fuzzed readers of what the program wrote for itself: alarm budgets, state and spool of `watch`, and logs."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
from PIL import Image

from tests.fuzz.reader import Reader


def remove_siblings(path):
    """Remove files set aside, and the journals of a database."""
    for sibling in path.parent.glob(f"{path.name}?*"):
        sibling.unlink()


class Budgets(Reader):
    """The alarm budget of a camera: damaged, or thresholds that events can be found with."""

    def write_seeds(self, folder):
        from offnormal.events.budget import budget_incidents
        from offnormal.events.machine import EventRules
        from offnormal.metrics.video import FrameScores
        from offnormal.types import Rate

        folder.mkdir()
        scores = np.random.default_rng(0).gamma(8.0, 0.5, 4000)
        video = FrameScores("a.mp4", scores, None, np.arange(4000) / 2.0)
        rules = EventRules(incident_gap_s=60)
        budget = budget_incidents([video], [scores], rate=Rate(30, "hour"), rules=rules, kind="held_out", bundle="b0")
        budget = replace(budget, calibration=replace(budget.calibration, scores=budget.calibration.scores[:50]))
        key = {"bundle": "b0", "rules": rules.model_dump(), "rate": "30/hour", "footage": [["/a.mp4", 1, 2]]}
        (folder / "gate.json").write_text(json.dumps({"key": key, "budget": budget.to_json()}))
        return [folder / "gate.json"]

    def check(self, path):
        from offnormal.events.machine import EventMachine
        from offnormal.watching.thresholds import _read_budget

        stored = _read_budget(path, repairs=True)
        self.errors += stored is None
        remove_siblings(path)
        if stored is not None:
            budget = stored[1]
            self.read(lambda: budget.require(bundle="b0", setup_hash=None, rules=budget.rules))
            assert budget.explanation and budget.from_json(json.loads(json.dumps(budget.to_json()))) == budget
            threshold = budget.calibration.threshold
            assert 0 < budget.calibration.p_value(np.array([threshold]))[0] <= 1
            machine = EventMachine(budget.rules, threshold, budget.low_threshold)
            machine.push_all(range(9), [threshold, threshold + 1] * 4 + [0.0])
            machine.finish()


class States(Reader):
    """Open events of a camera, and the images of a watched folder that were processed."""

    def write_seeds(self, folder):
        from offnormal.sources.health import Finding
        from tests.watching.test_camera import camera, judged

        folder.mkdir()
        watched = camera([], state=folder / "gate.json")
        for second in range(4):
            watched.push(judged(100.0 + second, 5.0 + second))
        watched.push(judged(104.0, 5.0, findings=(Finding("frozen", True, 104.0, 100.0, "still"),)))
        watched._save()
        watched.push(judged(105.0, 1.0))
        shutil.copyfile(folder / "gate.json", folder / "open.json")
        watched.finish()
        self.images = self.folder / "images"
        self.images.mkdir()
        for name in ("a.png", "b.png"):
            Image.new("L", (4, 4)).save(self.images / name)
        (folder / "images.jsonl").write_text('["a.png", 70, 1700000000000000000]\n["old/ü.png", 1, 2]\n')
        return sorted(folder.iterdir())

    def check(self, path):
        if path.suffix == ".json":
            self._check_camera(path)
        else:
            self._check_folder(path)

    def _check_camera(self, path):
        from tests.watching.test_camera import Frames, camera, judged

        events = []
        watched = camera(events, Frames(now_s=200.0), state=path)
        self.errors += any(path.parent.glob(f"{path.name}.damaged*"))
        first = watched.events.is_open
        for second, score in enumerate((1.0, 9.0, 9.0, 9.0, 1.0)):
            watched.push(judged(1000.0 + second, score))
        watched.finish()
        closed = [event.id for event in events if (event.state, event.kind) == ("closed", "anomaly")]
        assert len(closed) == len(set(closed)) and not watched.events.is_open
        assert sum(event.start.timestamp() == 1001.0 for event in events if event.state == "closed") == 1, first
        remove_siblings(path)

    def _check_folder(self, path):
        from offnormal.sources.watched_folder import FolderWatchOptions, WatchedFolder

        stop = threading.Event()
        stop.set()
        assert list(WatchedFolder(self.images, FolderWatchOptions(memory=path)).images(stop)) == []
        self.errors += any(path.parent.glob(f"{path.name}.damaged*"))
        for line in path.read_text().splitlines():
            json.loads(line)
        remove_siblings(path)


class Spools(Reader):
    """Undelivered messages; whatever is damaged, a new message is delivered."""

    _SINKS = ("jsonl a.jsonl", "webhook")

    def write_seeds(self, folder):
        from offnormal.sinks.spool import Spool
        from offnormal.testing.events import event, message

        folder.mkdir()
        for name, number in (("one.db", 1), ("some.db", 6)):
            spool = Spool(folder / name)
            for each in range(number):
                spool.put(message(each), self._SINKS)
            spool.mark_refused(spool.next("webhook").seq, "webhook", "answered 400")
            spool.hold(event(99), folder)
            spool.close()
        return [folder / "one.db", folder / "some.db"]

    def check(self, path):
        from offnormal.sinks.spool import Spool
        from offnormal.testing.events import event, message

        spool = self.read(Spool, path)
        assert spool is not None, "the folder can be written"
        try:
            self.errors += any(path.parent.glob(f"{path.name}.damaged*"))
            self.read(self._use, spool, message(7000), event(7001))
        finally:
            spool.close()
            remove_siblings(path)

    def _use(self, spool, message, event):
        spool.held_events()
        spool.hold(event)
        assert event in [held for held, _ in spool.held_events()]
        spool.put(message, self._SINKS)
        for sink in {*spool.sinks(), *self._SINKS}:
            waiting = spool.count_waiting(sink)
            assert spool.count_refused(sink) >= 0 and spool.count_dropped(sink) >= 0
            delivered = []
            while (first := spool.next(sink)) is not None:
                delivered.append(first.message)
                spool.mark_delivered(first.seq)
                assert len(delivered) <= waiting, "a message comes again and again"
            assert message in delivered or sink not in self._SINKS


class Logs(Reader):
    """The log of a run, and the files that events are appended to: what they contain is read back."""

    def write_seeds(self, folder):
        from offnormal.run import Run
        from offnormal.sinks.appended_file import AppendedFileOptions, CsvSink, JsonlSink
        from offnormal.testing.events import message

        folder.mkdir()
        run = Run(folder)
        run.log("start", verb="fit", images=3)
        for step in (1, 2, 3):
            values = {"losses": {"g": {"loss": 1.5 / step}}, "lr": {"g": 0.1}, "gradient": {"g": 2.0}}
            run.log("step", step=step, epoch=1, seconds=0.25, **values)
        run.log("validation", step=2, epoch=1, losses={"loss": 3.0}, best=True, seconds=1)
        run.log("epoch", epoch=1, steps=2, seconds=0.5, collapsed=1)
        run.log("resumed", step=2)
        run.log("trained", steps=2, stopped="done", best_loss=None)
        (folder / "tracking.json").write_text('{"mlflow": {"project": "a", "name": "b", "id": "1", "bytes_sent": 9}}')
        for name, kind in (("events.jsonl", JsonlSink), ("events.csv", CsvSink)):
            sink = kind(AppendedFileOptions(path=folder / name))
            for number in range(3):
                sink.deliver(message(number))
        return sorted(folder.iterdir())

    def check(self, path):
        if self.source.name == "log.jsonl":
            self._check_log(path)
        elif self.source.name == "tracking.json":
            from offnormal.training.tracking.session import list_trackers

            shutil.copyfile(path, self.folder / "tracking.json")
            assert set(list_trackers(self.folder)) <= {"wandb", "tensorboard", "mlflow"}
        else:
            self._check_sink(path)

    def _check_log(self, path):
        from offnormal.drawing.curves import curves
        from offnormal.training.history import read_history
        from offnormal.training.tracking.log_reader import last_step, read_events, read_lines

        history = read_history(path)
        if self.random.random() < 0.1:  # it takes longer than everything else
            curves(history)
        lines, _ = read_lines(path, 0)
        list(read_events(lines, 0))
        last_step(lines, 0)

    def _check_sink(self, path):
        from offnormal.sinks.appended_file import AppendedFileOptions, CsvSink, JsonlSink
        from offnormal.testing.events import message

        kind = JsonlSink if path.suffix == ".jsonl" else CsvSink
        before = path.read_bytes()
        sent = message(7)
        for _ in range(2):  # by a program, and by one that was started again
            sink = kind(AppendedFileOptions(path=path))
            self.read(sink.deliver, sent)
        after = path.read_bytes()
        if self.errors:
            assert after == before, "a file with other content was changed"
        else:
            assert after.endswith(b"\n") and after.count(sent.event.id.encode()) in (1, 2)
            assert kind(AppendedFileOptions(path=path))._ids(after[-5000:]) >= {sent.id}
