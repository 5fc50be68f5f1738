"""Run folders with an evaluation in them, written by the writers that `offnormal evaluate` uses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from offnormal.calibration.calibration import calibrate_scores
from offnormal.data.dataset import Dataset
from offnormal.data.video_dataset import VideoDataset
from offnormal.evaluation import judge, metrics_json, scored_rows, write_scores
from offnormal.metrics.accumulate import PixelResult
from offnormal.metrics.video import FrameScores
from offnormal.types import ANOMALOUS, NORMAL, Rate, Sample, Video
from offnormal.video_evaluation import ScoredVideo, judge_videos, video_metrics_json, write_frame_scores

EXACT = PixelResult(auroc=0.9712, aupro=0.8934, f1=0.6123, f1_threshold=4.0, pixels=1000, regions=3, exact=True)


def calibrated(scale=1.0, things="images"):
    scores = scale * np.random.default_rng(1).gamma(8.0, 0.5, 199)
    rate = Rate(0.02, things.removesuffix("s"))
    return calibrate_scores(scores, None, rate=rate, kind="held_out", bundle="b0", things=things)


def write_bundle(folder, bundle, detector, **options):
    (folder / "bundle").mkdir(parents=True, exist_ok=True)
    described = {"detector": {"name": detector, **options}, "input": {"size": [256, 320], "fps": None}}
    (folder / "bundle" / "config.yaml").write_text(yaml.safe_dump(described))
    (folder / "bundle" / "card.json").write_text(json.dumps({"bundle": bundle}))
    (folder / "bundle" / "model.safetensors").write_bytes(bytes(5000))


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
    labelled=True,
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
    calibration = calibrated(scale, "frames") if calibrate else None
    made = []
    for number in range(videos):
        name = f"{number:02}.mp4"
        labels = (np.arange(frames) >= frames // 2).astype(np.uint8)
        values = scale * (rng.gamma(8.0, 0.5, frames) + power * labels) if scores is None else np.array(scores[name])
        values[:unscored] = np.nan
        known = labels if labelled else None
        found = FrameScores(name, values, known, None if fps is None else np.arange(frames) / fps)
        p_value = None
        if calibration is not None:
            p_value = np.where(np.isnan(values), np.nan, calibration.p_value(np.nan_to_num(values)))
        made.append(ScoredVideo(video=Video(path=Path(name), name=name, labels=known), scores=found, p_value=p_value))
    dataset = VideoDataset(
        name="street", layout="videos", root=Path("street"), train=(), test=tuple(one.video for one in made)
    )
    bundle = f"bundle-{folder.name}"
    evaluation = judge_videos(
        dataset,
        made,
        pixel=None,
        calibration=calibration,
        missing={},
        skipped=[],
        bundle=bundle,
        fingerprint=fingerprint,
        seconds_per_frame=seconds_per_frame,
    )
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(video_metrics_json(evaluation)))
    write_frame_scores(folder / "scores.csv", made, None if calibration is None else calibration.threshold)
    write_bundle(folder, bundle, detector, **options)
    return folder


def image_run(
    folder: Path, *, seed=0, power=2.0, root="/data", groups=None, calibrate=True, fingerprint="a0" * 32, normal=40
) -> Path:
    """A run over pictures: normal ones, cracks and holes. groups: number of groups that they lie in."""
    rng = np.random.default_rng(seed)
    kinds = [(NORMAL, "good")] * normal + [(ANOMALOUS, "crack")] * 12 + [(ANOMALOUS, "hole")] * 9
    samples = [
        Sample(
            path=Path(root) / "test" / defect / f"{i:03}.png",
            label=label,
            defect=defect,
            group=None if groups is None else f"lot {i % groups}",
        )
        for i, (label, defect) in enumerate(kinds)
    ]
    scores = rng.gamma(8.0, 0.5, len(samples)) + power * np.array([label for label, _ in kinds])
    calibration = calibrated() if calibrate else None
    dataset = Dataset(name="parts", layout="mvtec", root=Path(root), test=tuple(samples))
    rows = scored_rows(samples, scores, calibration)
    evaluation = judge(dataset, rows, EXACT, calibration, {}, [], f"bundle-{folder.name}", fingerprint)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics_json(evaluation)))
    write_scores(folder / "scores.csv", evaluation)
    return folder
