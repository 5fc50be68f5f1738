"""What is fuzzed: each reader has valid files to start from, and a check that reads a changed one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random

import numpy as np
import yaml
from PIL import Image
from scipy.io import savemat

from tests.data.footage import cells, clip, save_hdf5
from tests.fuzz.mutate import ODD_VALUES, mutate_file
from tests.sources.deep_files import write_png, write_tiff
from tests.video_files import numbered, write_video


class Reader(ABC):
    """Reads files that start valid and are changed; only an OffnormalError or a result is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.seeds = self.write_seeds(folder / "seeds")

    @abstractmethod
    def write_seeds(self, folder: Path) -> list[Path]:
        """Write the valid files, and return their paths."""

    @abstractmethod
    def check(self, path: Path) -> None:
        """Read a changed file."""

    def attempt(self, seed: int, keep: Path | None = None) -> None:
        """Change a file by a seed, and check it; keep: where to also store the changed file."""
        random = Random(f"{type(self).__name__} {seed}")
        source = self.source = self.seeds[random.randrange(len(self.seeds))]
        content = [path.read_bytes() for path in self.seeds]
        data = mutate_file(source.name, source.read_bytes(), random, content)
        path = self.folder / f"changed{source.suffix}"
        path.write_bytes(data)
        if keep is not None:
            shutil.copyfile(path, keep / f"{type(self).__name__}-{seed}{source.suffix}")
        self.check(path)


class Images(Reader):
    def write_seeds(self, folder):
        folder.mkdir()
        rgb = np.random.default_rng(0).integers(0, 255, (12, 17, 3)).astype(np.uint8)
        gray16 = rgb[..., 0].astype(np.uint16) * 257
        for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp", "ppm"):
            Image.fromarray(rgb).save(folder / f"a.{suffix}")
        Image.fromarray(gray16).save(folder / "deep.png")
        Image.fromarray(gray16).save(folder / "deep.tif", compression="tiff_lzw")
        Image.fromarray(rgb).convert("P").save(folder / "palette.png", transparency=0)
        Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(rgb).save(folder / "turned.jpg", exif=exif)
        Image.fromarray(rgb).save(folder / "turned.png", exif=exif)
        Image.fromarray(rgb).convert("1").save(folder / "bits.tif", compression="group4")
        deep = np.stack([gray16] * 3, -1)
        write_png(folder / "deep_rgb.png", deep)
        (folder / "deep.ppm").write_bytes(b"P6 17 12 65535\n" + deep.astype(">u2").tobytes())
        for number, options in enumerate(({}, {"deflate": True, "predictor": 2}, {"is_big": True, "order": ">"})):
            write_tiff(folder / f"deep{number}.tif", deep, **options)
        write_tiff(folder / "tiles.tif", deep, tile=(16, 16), planar=True)
        write_tiff(folder / "float.tif", gray16.astype(np.float32) / 65535)
        pages = [Image.fromarray(rgb)] * 2
        pages[0].save(folder / "pages.gif", save_all=True, append_images=pages[1:])
        pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.errors import OffnormalError
        from offnormal.sources.image import image_depth, image_size, open_image, to_channels, to_rgb
        from offnormal.sources.mask import open_mask

        for read in (
            image_size,
            lambda path: to_channels(open_image(path), 3),
            lambda path: to_rgb(open_image(path, at_least=(4, 4))),
            image_depth,
            open_mask,
        ):
            with contextlib.suppress(OffnormalError):
                read(path)


class Videos(Reader):
    def write_seeds(self, folder):
        folder.mkdir()
        paths = []
        for suffix in ("mp4", "avi", "mkv", "ts"):
            path = folder / f"a.{suffix}"
            with contextlib.suppress(Exception):  # a codec that this build of FFmpeg lacks
                write_video(path, numbered(6))
                paths.append(path)
        assert len(paths) > 1
        return paths

    def check(self, path):
        from offnormal.errors import OffnormalError
        from offnormal.sources.video import open_video
        from offnormal.sources.video_index import count_frames, frame_size, read_clock

        logging.disable(logging.WARNING)
        try:
            with open_video(path) as video:
                for frame in video.frames():
                    if frame.index > 50:
                        break
            count_frames(path)
            read_clock(path)
            frame_size(path)
        except OffnormalError:
            pass
        finally:
            logging.disable(logging.NOTSET)


class Labels(Reader):
    def write_seeds(self, folder):
        self.frames = clip(self.folder / "frames", 6)
        folder.mkdir()
        labels = np.array([0, 0, 1, 1, 1, 0], np.uint8)
        spans = [np.array([[1.0, 4], [2, 5]]), np.array([[3.0], [6]]), np.zeros((0, 0))]
        np.save(folder / "a.npy", labels)
        np.save(folder / "masks.npy", np.zeros((6, 4, 5), bool))
        np.savez_compressed(folder / "a.npz", frame_labels_a=labels, mask_a=np.ones((6, 4, 5), np.uint8))
        np.savez(folder / "stored.npz", frame_labels_a=labels)
        savemat(folder / "a.mat", {"gt": cells(spans), "l": labels[None]})
        savemat(folder / "packed.mat", {"gt": spans[0], "l": labels[None]}, do_compression=True)
        save_hdf5(folder / "new.mat", "gt", spans)
        (folder / "a.csv").write_text("start,end\n1,2\n4,5\n")
        (folder / "each.csv").write_text("label\n0\n0\n1\n1\n1\n0\n")
        (folder / "a.txt").write_text("0 0 1 1 1 0")
        (folder / "a.m").write_text("TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [1:2, 4];\n")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.data.array_files import Archive, read_npy
        from offnormal.data.frame_labels import mat_spans, memae_labels, parse_labels, read_labels, ucsd_spans
        from offnormal.data.frame_masks import frame_labels, open_masks
        from offnormal.errors import OffnormalError
        from offnormal.types import MaskSource

        def masks(key=None):
            with open_masks(MaskSource(path=path, key=key)) as opened:
                frame_labels(opened)

        def arrays():
            archive = Archive(path)
            for name in archive.names:
                archive.shape(name)
                parse_labels(archive.read(name), name)

        reads = {
            ".npy": (lambda: read_labels(path, self.frames), masks, lambda: read_npy(path, mapped=True)),
            ".npz": (arrays, masks, lambda: masks("mask_a")),
            ".mat": (lambda: mat_spans(path, 3), lambda: memae_labels(path), lambda: masks("gt")),
            ".csv": (lambda: read_labels(path, self.frames),),
            ".txt": (lambda: read_labels(path, self.frames),),
            ".m": (lambda: ucsd_spans(path),),
        }
        for read in reads[path.suffix]:
            with contextlib.suppress(OffnormalError):
                read()


class Bundles(Reader):
    def write_seeds(self, folder):
        from offnormal.api import fit

        images = self.folder / "images"
        images.mkdir()
        for number in range(30):
            values = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(values).save(images / f"{number}.png")
        options = {"normal": images, "size": 16, "out": self.folder / "runs", "workers": 1}
        run = fit("pixel_gaussian", **options)
        shutil.copytree(run.path / "bundle", folder)
        shutil.copytree(folder, self.folder / "bundle")
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def attempt(self, seed, keep=None):
        self._random = Random(f"card {seed}")
        super().attempt(seed, keep)

    def check(self, path):
        from offnormal.bundle import load
        from offnormal.errors import OffnormalError

        source, bundle = self.source, self.folder / "bundle"
        target = bundle / source.relative_to(self.folder / "seeds")
        card = bundle / "card.json"
        original_card = (self.folder / "seeds" / "card.json").read_bytes()
        try:
            shutil.copyfile(path, target)
            if target != card and self._random.random() < 0.75:  # as somebody who wants to be believed
                values = json.loads(original_card)
                for name in values["sha256"]:
                    values["sha256"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
                card.write_text(json.dumps(values))
            with contextlib.suppress(OffnormalError):
                load(bundle)
        finally:
            shutil.copyfile(source, target)
            card.write_bytes(original_card)


class Configs(Reader):
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
            "patience": {"open_s": 5}, "record": {"before_s": 2}, "start_time": "2026-11-20T18:00+01:00",
        }  # fmt: skip
        for name, model in self.models.items():
            values = {"cameras": [camera], "bundle": "runs/a", "sinks": ["jsonl:a.jsonl", {"kind": "webhook"}]}
            if name != "watch":
                values = model.model_construct().model_dump(mode="json", warnings=False)
                values = {key: value for key, value in values.items() if value not in (None, [])}
                values |= {"rules": {"min_duration": "2s"}} if "rules" in model.model_fields else {}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        (folder / "mask.yaml").write_text("polygons: [[[0, 0], [0.5, 0], [0.5, 0.5]]]")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.config.layers import build
        from offnormal.errors import OffnormalError
        from offnormal.evaluation.stored import _read_detector
        from offnormal.sources.privacy import read_privacy_mask

        name = self.source.stem
        if name == "mask":
            with contextlib.suppress(OffnormalError):
                read_privacy_mask(path)
            return
        with contextlib.suppress(OffnormalError):
            config = build(self.models[name], {}, file=path, environment={"HOME": "/home/x"})
            if name == "watch":
                config.camera_configs()
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        shutil.copyfile(path, run / "config.yaml")
        with contextlib.suppress(OffnormalError):
            _read_detector(run, None)


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
        from offnormal.errors import OffnormalError
        from offnormal.events.event import event_from_json
        from offnormal.events.zones import Zone
        from offnormal.input_files import load_json, load_yaml
        from offnormal.watching.config import WatchConfig

        data = path.read_bytes()
        text = data.decode("utf-8", "replace")
        with contextlib.suppress(OffnormalError):
            Zone.parse(text)
        values: object = text
        with contextlib.suppress(ValueError):
            values = load_json(data) if path.suffix == ".json" else load_yaml(text)
        cameras = {"cameras": [{"source": "a.mp4"}], "bundle": "b"}
        settings = values if isinstance(values, dict) and path.suffix == ".yaml" else {"schedule": text}
        with contextlib.suppress(OffnormalError):
            build(WatchConfig, {**settings, **cameras}, environment={}).camera_configs()
        if isinstance(values, dict):
            for parse in (event_from_json, Calibration.from_json):
                with contextlib.suppress(OffnormalError):
                    parse(values)


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
        "padim",
        "mnad",
        "x.png",
        ".",
        "/no/such",
        "a b",
        "*",
        "[",
        "-",
        "--",
        "",
        "--help",
        "@",
        "s3://x",
        "rtsp://x",
    )

    def write_seeds(self, folder):
        import offnormal.api  # noqa: F401 - its seconds are not those of an input

        folder.mkdir()
        (folder / "words.txt").write_text("\n".join(self._WORDS))
        return [folder / "words.txt"]

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
        if code not in (0, 2) or "unexpected error" in errors.getvalue() or "Traceback" in errors.getvalue():
            raise AssertionError(f"{arguments}: exit code {code}: {errors.getvalue()[-500:]}")

    def check(self, path):
        raise NotImplementedError


class Tables(Reader):
    def write_seeds(self, folder):
        from offnormal.types import Unit
        from tests.evaluations import image_evaluation, write_run

        self.units = (Unit.IMAGE, Unit.FRAME, Unit.CLIP)
        write_run(self.folder / "run", image_evaluation())
        folder.mkdir()
        for name in ("scores.csv", "metrics.json"):
            shutil.copyfile(self.folder / "run" / name, folder / name)
        (folder / "short.csv").write_text("\n".join((folder / "scores.csv").read_text().splitlines()[:4]))
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.errors import OffnormalError
        from offnormal.evaluation.scores_csv import read_table
        from offnormal.evaluation.stored import read_evaluation

        if path.suffix == ".csv":
            for unit in self.units:
                with contextlib.suppress(OffnormalError):
                    read_table(path, unit)
        name = "scores.csv" if path.suffix == ".csv" else "metrics.json"
        original = (self.folder / "run" / name).read_bytes()
        try:
            shutil.copyfile(path, self.folder / "run" / name)
            with contextlib.suppress(OffnormalError):
                read_evaluation(self.folder / "run")
        finally:
            (self.folder / "run" / name).write_bytes(original)


READERS: dict[str, type[Reader]] = {
    "images": Images,
    "videos": Videos,
    "labels": Labels,
    "bundles": Bundles,
    "configs": Configs,
    "events": Events,
    "arguments": Arguments,
    "tables": Tables,
}
