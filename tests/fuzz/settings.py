"""Fuzzed readers of what a person writes: configurations, zones, schedules, events, and command lines."""

from __future__ import annotations

import contextlib
import io
import json
import os
from functools import partial
from pathlib import Path
from random import Random

import yaml

from tests.fuzz.mutate import ODD_VALUES
from tests.fuzz.reader import Reader


class Configs(Reader):
    _KEYS = 8  # in a file at most: a short file is read faster, and each of its keys is changed more often

    def write_seeds(self, folder):
        from offnormal.config.score import CalibrateConfig, EvaluateConfig, PredictConfig
        from offnormal.verbs.fit import fit_config
        from offnormal.watching.config import WatchConfig

        folder.mkdir()
        self.models = {
            "calibrate": CalibrateConfig,
            "evaluate": EvaluateConfig,
            "predict": PredictConfig,
            "watch": WatchConfig,
            **{name: fit_config(name) for name in ("padim", "mnad", "embedding_ae", "pixel_gaussian")},
        }
        camera = {
            "source": "rtsp://u:p@10.0.0.1/1",
            "zones": ["0.1,0.2 0.9,0.2 0.5,0.8", {"points": [[0, 0], [1, 0], [1, 1]]}],
            "schedule": {"windows": ["mon-fri 18:00-06:00"], "timezone": "Europe/Berlin"}, "rate": "2/day",
            "patience": {"open_s": 5}, "record": {"pre_roll_s": 2}, "start_time": "2026-11-20T18:00+01:00",
        }  # fmt: skip
        for name, model in self.models.items():
            values = {"cameras": [camera], "bundle": "runs/a", "sinks": ["jsonl:a.jsonl", {"kind": "webhook"}]}
            if name != "watch":
                values = model.model_construct().model_dump(mode="json", warnings=False)
                values = {key: value for key, value in values.items() if value not in (None, [])}
                values |= {"rules": {"min_duration": "2s"}} if "rules" in model.model_fields else {}
            keys = list(values)
            for start in range(0, len(keys), self._KEYS):
                part = {key: values[key] for key in keys[start : start + self._KEYS]}
                (folder / f"{name}.{start}.yaml").write_text(yaml.safe_dump(part))
        (folder / "mask.yaml").write_text("polygons: [[[0, 0], [0.5, 0], [0.5, 0.5]]]")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.config.layers import build
        from offnormal.sources.privacy import read_privacy_mask

        name = self.source.name.split(".")[0]
        if name == "mask":
            self.read(read_privacy_mask, path)
            return
        config = self.read(partial(build, self.models[name], {}, file=path, environment={"HOME": "/home/x"}))
        if name == "watch" and config is not None:
            self.read(config.camera_configs)


class Events(Reader):
    def write_seeds(self, folder):
        from offnormal.events.event import camera_event, event_to_json
        from tests.evaluations import calibrated

        folder.mkdir()
        event = camera_event("porch", "no_frames", 0, 5, is_over=True)
        (folder / "event.json").write_text(json.dumps(event_to_json(event)))
        (folder / "calibration.json").write_text(json.dumps(calibrated().to_json()))
        zones = {"zones": ["0.1,0.2 0.9,0.2 0.5,0.8"], "schedule": "mon-fri 18:00-06:00"}
        (folder / "zones.yaml").write_text(yaml.safe_dump(zones))
        (folder / "zone.txt").write_text("exclude:0.1,0.2 0.9,0.2 0.5,0.8")
        (folder / "schedule.txt").write_text("mon-fri,sun 18:00-06:00")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.calibration.calibration import Calibration
        from offnormal.config.layers import build
        from offnormal.events.event import event_from_json, event_to_json
        from offnormal.events.zones import Zone
        from offnormal.input_files import load_json, load_yaml
        from offnormal.watching.config import WatchConfig

        data = path.read_bytes()
        text = data.decode("utf-8", "replace")
        values: object = text
        with contextlib.suppress(ValueError):
            values = load_json(data) if path.suffix == ".json" else load_yaml(text)
        if path.suffix != ".json":
            self.read(Zone.parse, text)
            cameras = {"cameras": [{"source": "a.mp4"}], "bundle": "b"}
            settings = values if isinstance(values, dict) and path.suffix == ".yaml" else {"schedule": text}
            self.read(lambda: build(WatchConfig, {**settings, **cameras}, environment={}).camera_configs())
        elif isinstance(values, dict):
            event = self.read(event_from_json, values)
            if event is not None:
                assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event
            calibration = self.read(Calibration.from_json, values)
            if calibration is not None:
                assert 0 < calibration.p_value(calibration.threshold) <= 1


class Arguments(Reader):
    """Command lines; a check that a path or a value is wrong is the most that any of them may reach."""

    _VERBS = ("fit", "calibrate", "evaluate", "compare", "predict", "watch", "benchmark", "import", "upload", "list")
    _FLAGS = (
        "size", "data", "rate", "seed", "threads", "device", "batch-size", "group-by", "split", "out", "config", "zone",
        "schedule", "fps", "every", "crop", "resize", "rules", "min-duration", "threshold", "csv", "overlays",
        "privacy-mask", "resume", "sink", "json", "dry-run", "check", "dims", "epochs", "track", "start-time",
        "metrics", "keep-gb", "workers", "cache", "masks", "normal", "test", "layout", "category", "unknown",
    )  # fmt: skip
    _WORDS = (
        "padim", "mnad", "x.png", ".", "/no/such", "a b", "*", "[", "-", "--", "", "--help", "@", "s3://x", "rtsp://x",
    )  # fmt: skip

    def write_seeds(self, folder):
        import offnormal.api  # noqa: F401 - its seconds are not those of an input

        return []

    def attempt(self, seed, keep=None):
        from offnormal.cli.main import run

        random = Random(f"Arguments {seed}")
        values = [str(value)[:200].replace("\0", "") for value in ODD_VALUES]
        arguments = [random.choice(self._VERBS)]
        for _ in range(random.randrange(6)):
            if random.random() < 0.6:
                flag = f"--{random.choice(self._FLAGS)}"
                value = random.choice((*values, *self._WORDS))
                arguments += [f"{flag}={value}"] if random.random() < 0.5 else [flag, value]
            else:
                arguments.append(random.choice(self._WORDS))
        if keep is not None:
            (keep / f"Arguments-{seed}.json").write_text(json.dumps(arguments))
        before, errors, output = Path.cwd(), io.StringIO(), io.StringIO()
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        os.chdir(empty)
        try:
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
                code = run(arguments)
        finally:
            os.chdir(before)
        self.refused += code == 2
        if code not in (0, 2) or "unexpected error" in errors.getvalue() or "Traceback" in errors.getvalue():
            raise AssertionError(f"{arguments}: exit code {code}: {errors.getvalue()[-500:]}")

    def check(self, path):
        raise NotImplementedError
