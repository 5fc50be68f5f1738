"""MNAD on footage of fixed cameras beside the baselines, with and without its memory and its update, as Markdown.

    python benchmarks/mnad_footage.py --data AVENUE UPCAM:10 --work DIR --limit 30min [--size 64x128] [-- fit options]

UPCAM:10 learns from one clip every ten seconds. Every fit goes through the verb `fit` with the same limit of time, then
through `evaluate`; runs are kept in DIR and not made again, so that an interrupted benchmark goes on. The row "learning
on" scores with the weights of the row above it, the memory being updated at test time; it is standardized anew on the
normals that its fit has kept back. `terms per video` is the papers' form: each term of the score stretched to 0-1 over
each video before they are added, which looks at a whole video before its first frame is judged.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from offnormal.bundle import Bundle, load
from offnormal.config.fit import TrainConfig
from offnormal.config.layers import build
from offnormal.config.score import EvaluateConfig
from offnormal.data.dataset import Dataset
from offnormal.data.open import open_datasets
from offnormal.detectors.mnad import MNAD
from offnormal.detectors.mnad.scores import per_video_score
from offnormal.metrics.video import FrameScores, video_metrics
from offnormal.run import Run
from offnormal.training.split import choose_held_out, count_held_out
from offnormal.verbs.evaluate import evaluate_run
from offnormal.verbs.fit import fit_config, fit_run
from offnormal.verbs.loading import load_items

# row -> (detector, its options)
FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel_gaussian": ("pixel_gaussian", {}),
    "padim": ("padim", {"pool": "top", "top_share": 0.1, "shrinkage": 0.2}),
    "mnad pred": ("mnad", {}),
    "mnad pred, no memory": ("mnad", {"memory_size": 0}),
    "mnad recon": ("mnad", {"method": "recon"}),
    "mnad recon, no memory": ("mnad", {"method": "recon", "memory_size": 0}),
}
COLUMNS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP")
LEARNING_ON = ", learning on"


def fitted(name: str, dataset: Path, every: str | None, args: argparse.Namespace) -> Run:
    """The run of a row, made unless it is there."""
    detector, options = FITS[name]
    out = args.work / dataset.name / name
    if cards := sorted(out.glob("*/bundle/card.json")):
        path = cards[-1].parents[1]
        return Run(path, load(path))
    chosen: dict[str, Any] = {"data": dataset, "out": out, "every": every, "threads": args.threads}
    if detector == "mnad":
        options = {"width": args.width, "learning_rate": args.learning_rate, **options}
        chosen |= {
            "size": args.size,
            "max_time": args.limit,
            "steps": args.steps,
            "batch_size": args.batch_size,
        }
    chosen = {key: value for key, value in chosen.items() if value is not None}
    return fit_run(detector, build(fit_config(detector), {**chosen, "detector": options}, environment={}))[0]


def updating_online(run: Run, dataset: Dataset, every: str | None, args: argparse.Namespace) -> Bundle:
    """The same weights with the memory updated while scoring, standardized on the videos that were kept back."""
    assert run.bundle is not None and isinstance(run.bundle.detector, MNAD)
    original = run.bundle.detector
    detector = MNAD(
        original.options.model_copy(update={"online_update": True, "update_threshold": args.threshold}),
        original.input,
    )
    detector.load_state(original.state_dict())
    config = build(fit_config("mnad"), {"every": every} if every else {}, environment={})
    assert isinstance(config, TrainConfig)
    whole = load_items(dataset.train, detector.input, config, config, progress=None, task="", every_s=config.every)
    count = count_held_out(len(whole), share=config.hold_out, needed=0)
    held_out = choose_held_out(
        {group: len(whole.with_groups({group})) for group in whole.groups()}, count, seed=original.options.seed
    )
    with torch.inference_mode():
        detector.eval().finish(whole.with_groups(held_out, skip_straddling=True))
    return Bundle(detector, card=run.bundle.card)


def measured(bundle: Bundle, dataset: Dataset, out: Path) -> dict[str, float]:
    """Metrics of an evaluation, made unless it is there, and those of the per-video form."""
    if not (out / "metrics.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        evaluate_run(bundle, dataset, EvaluateConfig(), out=out)
    metrics = dict(json.loads((out / "metrics.json").read_text())["metrics"])
    if isinstance(bundle.detector, MNAD):
        metrics["per video"] = per_video(out / "scores.csv", bundle.detector.options.share)
    return metrics


def per_video(table: Path, share: float) -> float:
    """Micro AUC of scores.csv whose terms are stretched over each video first."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["score"]:
                rows[row["item"]].append(row)
    series = [
        FrameScores(
            name,
            per_video_score(_column(video_rows, "terms.psnr"), _column(video_rows, "terms.feature_distance"), share),
            np.array([row["label"] == "anomalous" for row in video_rows]),
        )
        for name, video_rows in rows.items()
    ]
    return video_metrics(series).metrics["frame_AUC_micro"]


def _column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="FOLDER or FOLDER:SECONDS")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=FITS, default=list(FITS), metavar="ROW")
    parser.add_argument("--limit", default="30min")
    parser.add_argument("--size", default=None)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--threshold", type=float, default=None, help="of the update; default: the published one")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for text in args.data:
        folder, _, seconds = text.partition(":")
        every = f"{seconds}s" if seconds else None
        (dataset,) = open_datasets(Path(folder))
        assert dataset.is_video
        print(f"### {dataset.name}\n\n| row | {' | '.join(COLUMNS)} | terms per video | steps | fit (s) |")
        print("|---" * (len(COLUMNS) + 4) + "|", flush=True)
        for fit in args.only:
            start = time.perf_counter()
            run = fitted(fit, Path(folder), every, args)
            took = time.perf_counter() - start
            assert run.bundle is not None
            rows = {fit: run.bundle}
            if isinstance(run.bundle.detector, MNAD) and run.bundle.detector.options.memory_size:
                rows[fit + LEARNING_ON] = updating_online(run, dataset, every, args)
            steps = run.bundle.card.get("training", {}).get("steps", "")
            for row, bundle in rows.items():
                metrics = measured(bundle, dataset, args.work / dataset.name / f"{row}, evaluated")
                cells = [f"{metrics[name]:.4f}" if name in metrics else "" for name in (*COLUMNS, "per video")]
                print(f"| {row} | {' | '.join(cells)} | {steps} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
