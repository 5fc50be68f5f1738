"""Detectors on videos of fixed cameras: frame metrics as a Markdown table, one row a detector and setting.

    python benchmarks/video_detectors.py --data AVENUE UPCAM:10 --work DIR [--only "padim --motion" ...]

UPCAM:10 learns from one clip every ten seconds. Fitted bundles and frame scores are kept in DIR, one file each, and
not made again, so that an interrupted run goes on, and two that are there can be combined: a row `a + b` sums the
logarithms of the p-values that each gives by its own calibration. `smoothed` is a Gaussian over time with
a sigma of one second, which looks into the future; every other column is of raw scores.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offnormal import registry
from offnormal.bundle import Bundle, load
from offnormal.calibration.calibration import calibrate_scores
from offnormal.data.dataset import Dataset
from offnormal.data.open import open_datasets
from offnormal.data.survey import choose_input, survey
from offnormal.data.video_loader import VideoLoader
from offnormal.metrics.video import FrameScores, VideoMetrics, video_metrics
from offnormal.scoring import Scorer, choose_device, score_items
from offnormal.training.statistics import fit_statistics
from offnormal.types import Unit

# row -> (detector, its options, size)
SETTINGS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "pixel_gaussian": ("pixel_gaussian", {}, None),
    "frame_difference": ("frame_difference", {}, None),
    "frame_difference, top 5 %": ("frame_difference", {"pool": "top"}, None),
    "padim": ("padim", {"pool": "top", "top_share": 0.1, "shrinkage": 0.2}, None),
    "padim --motion": ("padim", {"motion": True}, None),
    "padim --motion, max": ("padim", {"motion": True, "pool": "max"}, None),
    "padim --motion, top 5 %": ("padim", {"motion": True, "top_share": 0.05}, None),
    "padim --motion, seed 1": ("padim", {"motion": True, "seed": 1}, None),
    "padim --motion, 128 px": ("padim", {"motion": True}, 128),
}
SUMS = [("padim --motion", "pixel_gaussian"), ("padim --motion, 128 px", "pixel_gaussian")]
COLUMNS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP")
SMOOTHED = ("frame_AUC_micro_smoothed", "frame_AUC_macro_smoothed")


@dataclass(frozen=True)
class Footage:
    """A dataset and how densely it is learned from."""

    dataset: Dataset
    every_s: float | None

    @classmethod
    def parse(cls, text: str) -> Footage:
        """FOLDER or FOLDER:SECONDS."""
        folder, _, every = text.partition(":")
        (dataset,) = open_datasets(Path(folder))
        if not dataset.is_video:
            raise SystemExit(f"{folder} holds no videos")
        return cls(dataset, float(every) if every else None)


def fit(footage: Footage, setting: str, path: Path) -> Bundle:
    """A bundle, fitted and calibrated with whole videos left out."""
    name, options, size = SETTINGS[setting]
    kind = registry.resolve("detectors", name)
    chosen = kind.Options(**options)
    spec = choose_input(
        survey(footage.dataset.train),
        size=size or kind.default_size,
        multiple=kind.input_multiple(chosen),
        channels=kind.input_channels(chosen),
        clip=kind.clip_spec(chosen),
    )
    detector = kind(chosen, spec)
    detector.load_pretrained()
    loader = VideoLoader(footage.dataset.train, spec, batch_size=16, every_s=footage.every_s, cache="ram")
    normal_scores = fit_statistics(detector, loader, device=choose_device("cpu"))
    bundle = Bundle(detector)
    assert normal_scores is not None
    groups = [sample.group for sample in normal_scores.samples]
    bundle.calibration = calibrate_scores(
        normal_scores.score,
        None,
        rate=None,
        kind=normal_scores.kind,
        bundle=bundle.hash,
        groups=groups,
        units="frames",
    )
    bundle.save(path)
    return bundle


def scored(footage: Footage, setting: str, work: Path) -> dict[str, np.ndarray]:
    """Raw scores of every frame of every test video, and minus the logarithms of their p-values."""
    path = work / f"{footage.dataset.name} {setting}".replace(" ", "_").replace("%", "pc").replace(",", "")
    stored = path.with_suffix(".npz")
    if not stored.is_file():
        start = time.perf_counter()
        bundle = load(path) if path.is_dir() else fit(footage, setting, path)
        fitted = time.perf_counter()
        assert bundle.calibration is not None
        rows: dict[str, np.ndarray] = {}
        loader = VideoLoader(footage.dataset.test, bundle.detector.input, batch_size=16)
        for scores in score_items(Scorer(bundle.detector), loader, unit=Unit.FRAME):
            assert scores.video is not None
            name, score = scores.item.name, scores.score
            p_value = np.full(len(score), np.nan)
            is_scored = ~np.isnan(score)
            p_value[is_scored] = -np.log(bundle.calibration.p_value(score[is_scored]))
            rows |= {f"score {name}": score, f"p-value {name}": p_value, f"times {name}": scores.video.times_s}
        frames = sum(len(value) for key, value in rows.items() if key.startswith("score"))
        logging.info(
            "%s: fit %.0f s, then %.0f frames/s", path.name, fitted - start, frames / (time.perf_counter() - fitted)
        )
        np.savez(stored, allow_pickle=False, **rows)
    return dict(np.load(stored))


def measure(footage: Footage, parts: list[dict[str, np.ndarray]]) -> VideoMetrics:
    """Of raw scores of one detector, or of the sum of what several say of each frame."""
    kind = "score" if len(parts) == 1 else "p-value"
    series = [
        FrameScores(
            video.name,
            np.sum([part[f"{kind} {video.name}"].astype(np.float64) for part in parts], axis=0),
            video.frame_labels,
            parts[0][f"times {video.name}"],
        )
        for video in footage.dataset.test
    ]
    return video_metrics(series, smooth_sigma=1.0)


def row(label: str, metrics: VideoMetrics) -> str:
    cells = [f"{metrics.metrics[name]:.3f}" for name in (*COLUMNS, *SMOOTHED)]
    each = ", ".join(f"{video.name} {video.auc:.3f}" for video in metrics.videos if video.auc is not None)
    return f"| {label} | {' | '.join(cells)} | {each} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="FOLDER[:SECONDS]")
    parser.add_argument("--work", type=Path, required=True, help="folder for bundles and frame scores")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="ROW")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    for footage in map(Footage.parse, args.data):
        scores = {setting: scored(footage, setting, args.work) for setting in args.only}
        print(f"### {footage.dataset.name}\n\n| setting | {' | '.join((*COLUMNS, *SMOOTHED))} | each video |")
        print("|---" * (len(COLUMNS) + len(SMOOTHED) + 2) + "|")
        for setting, columns in scores.items():
            print(row(setting, measure(footage, [columns])))
        for names in SUMS:
            if all(name in scores for name in names):
                print(row(" + ".join(names), measure(footage, [scores[name] for name in names])))
        print(flush=True)


if __name__ == "__main__":
    main()
