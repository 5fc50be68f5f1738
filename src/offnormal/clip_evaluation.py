"""What is known after clips were scored as wholes: metrics, what the threshold keeps and catches. Pure numpy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.data.class_split import PARTS
from offnormal.data.dataset import Skipped
from offnormal.data.video_dataset import VideoDataset
from offnormal.files import new_file
from offnormal.metrics import clips as clip
from offnormal.metrics.clips import ClassRow, Hindsight, PartRow, Trade
from offnormal.metrics.decision import Share
from offnormal.metrics.item_use import ItemShares
from offnormal.types import ANOMALOUS, NORMAL, Video

TESTED = ("test", "anomalous")  # parts that metrics rest on
COLUMNS = ("video", "class", "part", "label", "original", "score", "p_value", "anomalous")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredClip:
    """One clip with its score."""

    video: Video
    part: str  # of `class_split.PARTS`
    label: int | None  # 0 normal, 1 anomalous, None unknown
    score: float  # raw, higher = more anomalous
    p_value: float | None = None  # None: not calibrated
    anomalous: bool | None = None  # None: not calibrated
    parts: dict[str, float] = field(default_factory=dict)  # the terms behind the score

    @property
    def tested(self) -> bool:
        """Whether metrics rest on it: neither learnt from nor used for the threshold."""
        return self.part in TESTED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipEvaluation:
    """Everything that is known after scoring the clips of a data set; the report draws it."""

    dataset: VideoDataset
    clips: list[ScoredClip]
    metrics: dict[str, float]  # names of DESIGN, over the clips tested on
    missing: dict[str, str]  # metric -> why it could not be computed
    accuracy: list[PartRow]  # by part; empty without labels
    classes: list[ClassRow]  # empty without classes
    trade: Trade | None  # over all thresholds
    hindsight: Hindsight | None
    calibration: Calibration | None
    skipped: list[Skipped]
    bundle: str  # hash of the bundle that scored
    fingerprint: str  # of the clips tested on
    embeddings: np.ndarray | None = None  # (R, D) of the clips, in their order; None: the detector gives none
    latents: np.ndarray | None = None  # (R, L)
    seconds_per_clip: float | None = None  # scoring, decoding included
    items: ItemShares | None = None  # use of the detector's memory; None: it has none
    parts: dict[str, dict[str, float]] = field(default_factory=dict)  # part of the score -> metrics of it alone

    @property
    def labelled(self) -> list[ScoredClip]:
        """Clips tested on whose label is known."""
        return [row for row in self.clips if row.tested and row.label is not None]

    @property
    def threshold(self) -> float | None:
        """The calibrated threshold; None: not calibrated."""
        return None if self.calibration is None else self.calibration.threshold


def label_of(video: Video) -> int | None:
    """Of a video as a whole: its own, or anomalous when any of its frames is; None: unknown."""
    if video.label is not None or video.labels is None:
        return video.label
    return ANOMALOUS if video.labels.any() else NORMAL


def judge_clips(
    dataset: VideoDataset,
    clips: list[ScoredClip],
    *,
    calibration: Calibration | None,
    skipped: list[Skipped],
    bundle: str,
    fingerprint: str,
    embeddings: np.ndarray | None = None,
    latents: np.ndarray | None = None,
    seconds_per_clip: float | None = None,
    items: ItemShares | None = None,
) -> ClipEvaluation:
    """Every metric that the labels allow; `missing` says why others are not there."""
    threshold = calibration.threshold if calibration is not None else None
    known = [row for row in clips if row.label is not None]
    tested = [row for row in known if row.tested]
    labels, scores = (np.array([getattr(row, name) for row in tested], np.float64) for name in ("label", "score"))
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    trade = None
    if NORMAL in labels and ANOMALOUS in labels:
        metrics = clip.clip_metrics(labels, scores)
        trade = clip.trade(labels, scores)
    else:
        found = "no labels" if not tested else f"only {'anomalous' if ANOMALOUS in labels else 'normal'} clips"
        missing["clip metrics"] = f"{found}: both normal and anomalous ones are needed"
    columns = [row.part for row in known], [row.label for row in known], [row.score for row in known]
    accuracy = clip.part_rows(*columns, threshold, order=PARTS) if known else []  # type: ignore[arg-type]
    actions = [row.video.action for row in known]
    classes = []
    if known and None not in actions:
        classes = clip.class_rows([str(name) for name in actions], *columns, threshold, tested=TESTED)  # type: ignore[arg-type]
    for row in accuracy:
        if row.right is not None:
            name = "clip_caught" if row.part == "anomalous" else f"clip_kept_{row.part}"
            metrics[name] = row.right.count / row.right.of
    return ClipEvaluation(
        dataset=dataset,
        clips=clips,
        metrics=metrics,
        missing=missing,
        accuracy=accuracy,
        classes=classes,
        trade=trade,
        hindsight=None if trade is None else clip.best_by_hindsight(trade),
        calibration=calibration,
        skipped=skipped,
        bundle=bundle,
        fingerprint=fingerprint,
        embeddings=embeddings,
        latents=latents,
        seconds_per_clip=seconds_per_clip,
        items=items,
        parts=_parts_alone(tested, labels) if trade is not None else {},
    )


def _parts_alone(tested: Sequence[ScoredClip], labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Metrics of each part of the score, such as those of other heads, as if it were the score."""
    names = sorted(set.intersection(*(set(row.parts) for row in tested)))
    return {name: clip.clip_metrics(labels, [row.parts[name] for row in tested]) for name in names}


def clip_metrics_json(evaluation: ClipEvaluation) -> dict[str, Any]:
    """What metrics.json holds: metrics, what the threshold keeps and catches, by class, and what it all rests on."""
    calibration, found = evaluation.calibration, evaluation.hindsight
    dataset = evaluation.dataset
    return {
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "calibration": None if calibration is None else calibration.summary(),
        "accuracy": [
            {"part": row.part, "clips": row.clips, **_share("caught" if row.part == "anomalous" else "kept", row.right)}
            for row in evaluation.accuracy
        ],
        "classes": [
            {
                "class": row.action,
                "anomalous": row.anomalous,
                "clips": row.counts,
                "median_score": row.median,
                "AUROC": row.auroc,
                **_share("caught" if row.anomalous else "kept", row.right),
            }
            for row in evaluation.classes
        ],
        "parts": evaluation.parts,
        "best_by_hindsight": None if found is None else {**asdict(found), "note": "chosen with the test's labels"},
        "skipped": [{"path": str(bad.path), "reason": bad.reason} for bad in evaluation.skipped],
        "data": {
            "kind": "clip",
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            "clips": len(evaluation.clips),
            "fingerprint": evaluation.fingerprint,
            **({"split_seed": dataset.split.classes.seed} if dataset.split is not None else {}),
        },
        "seconds_per_clip": evaluation.seconds_per_clip,
        "bundle": evaluation.bundle,
    }


def write_clip_scores(path: Path, clips: Sequence[ScoredClip]) -> None:
    """scores.csv: one row a clip, COLUMNS and then the terms behind the score."""
    names = sorted({name for row in clips for name in row.parts})
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *names])
        for row in clips:
            table.writerow(
                [
                    row.video.name,
                    row.video.action or "",
                    row.part,
                    "" if row.label is None else row.label,
                    row.video.group or "",
                    repr(row.score),  # exactly: the threshold is the score of one of them
                    "" if row.p_value is None else f"{row.p_value:.4g}",
                    "" if row.anomalous is None else int(row.anomalous),
                    *(f"{row.parts[name]:.7g}" if name in row.parts else "" for name in names),
                ]
            )


def _share(name: str, found: Share | None) -> dict[str, Any]:
    if found is None or not found.of:
        return {name: None}
    return {name: found.count, f"{name}_share": found.count / found.of, "interval": [found.low / 100, found.high / 100]}
