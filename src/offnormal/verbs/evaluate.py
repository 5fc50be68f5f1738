"""offnormal evaluate: bundle x labelled data set -> metrics, scores table, report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from offnormal.bundle import Bundle, describe, load
from offnormal.clip_evaluation import ClipEvaluation, clip_metrics_json, write_clip_scores
from offnormal.config.score import EvaluateConfig
from offnormal.data.dataset import Dataset
from offnormal.data.geometry import unlay
from offnormal.data.loader import read_pixels, stack, unmasked_anomalies
from offnormal.data.video_dataset import VideoDataset
from offnormal.errors import DataError
from offnormal.evaluation import (
    Evaluation,
    ScoredImage,
    judge,
    mean_row,
    metrics_json,
    scored_rows,
    write_scores,
)
from offnormal.files import write_text
from offnormal.metrics.accumulate import PixelScores
from offnormal.metrics.item_use import ItemUse
from offnormal.report.clip_page import render_clips
from offnormal.report.page import render
from offnormal.report.picture import Picture, Role
from offnormal.report.summary import render_summary
from offnormal.report.video_page import render_videos
from offnormal.run import Run, new_run
from offnormal.scoring import Scorer, choose_device
from offnormal.sources.image import as_rgb, open_image, open_mask
from offnormal.sources.privacy import paint
from offnormal.training.history import History, read_history
from offnormal.types import ANOMALOUS, NORMAL
from offnormal.verbs.chosen_frames import choose_frames
from offnormal.verbs.elsewhere import catch_up
from offnormal.verbs.evaluate_clips import choose_clips, evaluate_clips, refuse_learnt
from offnormal.verbs.evaluate_videos import evaluate_videos
from offnormal.verbs.loading import Progress, input_of, load_pictures, open_configured, split_beside
from offnormal.verbs.shown import shown
from offnormal.video_evaluation import VideoEvaluation, video_metrics_json, write_frame_scores

AnyEvaluation = Evaluation | VideoEvaluation | ClipEvaluation

_WORST = 8  # misses and false alarms shown
_CAUGHT = 8  # defects of which a typical catch is shown


def evaluate_dataset(
    bundle: Bundle, dataset: Dataset, config: EvaluateConfig, progress: Progress | None = None
) -> Evaluation:
    """Score the test pictures of a data set and compute every metric that its labels and masks allow.

    Maps are not kept: pixel metrics gather them in bounded memory. DataError when there is nothing to test on.
    """
    if not dataset.test:
        raise DataError(f"{dataset.root}: no test pictures; expected test/good and test/<defect> (or --test DIR)")
    masks = any(sample.mask is not None for sample in dataset.test)
    bare = unmasked_anomalies(dataset.test)
    missing: dict[str, str] = {}
    if masks and bare:
        missing["pixel metrics"] = f"{len(bare)} anomalous pictures have no mask, the first is {bare[0].path}"
    elif not masks:
        missing["pixel metrics"] = "there are no masks"
    gather = PixelScores(max_pixels=config.max_pixels) if masks and not bare else None
    ignored = None if bundle.detector.ignored is None else bundle.detector.ignored.cpu().numpy()
    loader = load_pictures(
        dataset.test,
        input_of(bundle, config.mask),
        config,
        progress=progress,
        what=f"evaluate on {dataset.name}",
        masks=gather is not None,
    )
    rows: list[ScoredImage] = []
    items = ItemUse()
    for scored in Scorer(bundle.detector, choose_device(config.device, config.threads)).over(loader):
        if gather is not None and scored.scores.map is not None and scored.masks is not None:
            gather.update(scored.masks, scored.scores.map, ignore=ignored)
        if scored.scores.recalled is not None:
            items.update(scored.scores.recalled, [sample.label for sample in scored.samples])
        rows += scored_rows(scored.samples, scored.scores.score, bundle.calibration)
    pixel = gather.compute() if gather is not None else None
    seen = dataset.fingerprint("test")
    return judge(dataset, rows, pixel, bundle.calibration, missing, loader.skipped, bundle.hash, seen, items.compute())


def evaluate_run(
    bundle: Bundle,
    dataset: Dataset | VideoDataset,
    config: EvaluateConfig,
    progress: Progress | None = None,
    out: Path | None = None,
) -> tuple[AnyEvaluation, Run]:
    """Evaluate on one data set and write metrics.json, scores.csv and report.html; see `place_for` for where."""
    about = {**bundle.card, **describe(bundle.detector)}
    place = out if out is not None else config.out
    found: AnyEvaluation
    if isinstance(dataset, VideoDataset) and bundle.detector.input.of_whole_video:
        found = evaluate_clips(bundle, dataset, config, progress)
        run = place_for(bundle, found, place)
        write_clip_scores(run.path / "scores.csv", found.clips)
        _write_json(run.path / "metrics.json", clip_metrics_json(found))
        page = render_clips(
            found, choose_clips(found, config.fps, input_of(bundle, config.mask).mask), about, _history(bundle)
        )
    elif isinstance(dataset, VideoDataset):
        found = evaluate_videos(bundle, dataset, config, progress)
        run = place_for(bundle, found, place)
        write_frame_scores(run.path / "scores.csv", found.videos, _threshold(bundle))
        _write_json(run.path / "metrics.json", video_metrics_json(found))
        page = render_videos(found, choose_frames(bundle, found, config), about, _history(bundle))
    else:
        found = evaluate_dataset(bundle, dataset, config, progress)
        run = place_for(bundle, found, place)
        write_scores(run.path / "scores.csv", found)
        _write_json(run.path / "metrics.json", metrics_json(found))
        page = render(found, choose_pictures(bundle, found, config), about, _history(bundle))
    write_text(run.path / "report.html", page)
    for bad in found.skipped:
        run.log("skipped", path=str(bad.path), reason=bad.reason)
    run.log("evaluated", data=str(dataset.root), **found.metrics)
    catch_up(run)
    return found, run


def _history(bundle: Bundle) -> History | None:
    """Of the training in the run that the bundle lies in, if it is still there."""
    return None if bundle.path is None else read_history(bundle.path.parent / "log.jsonl")


def _threshold(bundle: Bundle) -> float | None:
    return None if bundle.calibration is None else bundle.calibration.threshold


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def evaluate_all(
    path: Path, config: EvaluateConfig, progress: Progress | None = None
) -> list[tuple[AnyEvaluation, Run]]:
    """Evaluate a bundle on a data set, or, with category "all", the bundle of each category of a run on its own.

    With several categories a summary page with a mean row is written beside them.
    """
    if config.category != "all":
        split = split_beside(path)
        (dataset,) = open_configured(config, split)
        inner = path / dataset.name  # of a run over all categories
        bundle = load(inner if inner.is_dir() else path)
        return [evaluate_run(bundle, checked(bundle, dataset), config, progress)]
    datasets = open_configured(config)
    done = []
    for dataset in datasets:
        if not (path / dataset.name).is_dir():
            raise DataError(f"{path}: no bundle for {dataset.name}; fit it with --category all, or name one category")
        out = config.out / dataset.name if config.out is not None else None
        done.append(evaluate_run(load(path / dataset.name), dataset, config, progress, out))
    summary = config.out or path
    pages = [(found.dataset.name, found, os.path.relpath(run.path / "report.html", summary)) for found, run in done]
    pictures = [(name, found, link) for name, found, link in pages if isinstance(found, Evaluation)]
    if len(pictures) == len(pages):
        write_text(summary / "report.html", render_summary(pictures))
    means = {"mean": mean_row([found.metrics for found, _ in done])}
    metrics = {"categories": {found.dataset.name: found.metrics for found, _ in done}, **means}
    _write_json(summary / "metrics.json", metrics)
    return done


def checked(bundle: Bundle, dataset: Dataset | VideoDataset) -> Dataset | VideoDataset:
    """The data set; DataError when it tests on clips that the bundle's fit had in another part."""
    if isinstance(dataset, VideoDataset) and dataset.split is not None:
        refuse_learnt(bundle, dataset)
    return dataset


def choose_pictures(bundle: Bundle, evaluation: Evaluation, config: EvaluateConfig) -> list[Picture]:
    """The worst misses and false alarms, and the median catch of every defect, scored again for their maps."""
    chosen = [(role, row) for role, rows in _chosen_rows(evaluation).items() for row in rows]
    scorer, spec = Scorer(bundle.detector, config.device), input_of(bundle, config.mask)
    pictures = []
    for role, row in chosen:
        pixels = stack([read_pixels(row.sample.path, spec)])
        maps = scorer.score(pixels).map
        image = paint(np.asarray(as_rgb(open_image(row.sample.path), bits=spec.bits)), spec.mask)
        size, mask = (image.shape[0], image.shape[1]), row.sample.mask
        made = scorer.reconstruct(pixels)
        pictures.append(
            Picture(
                role=role,
                row=row,
                image=image,
                map=None if maps is None else unlay(maps[0], size, spec),
                mask=None if mask is None else open_mask(mask),
                reconstruction=None if made is None else shown(made[0], size, spec),
            )
        )
    return pictures


def _chosen_rows(evaluation: Evaluation) -> dict[Role, list[ScoredImage]]:
    known = sorted(evaluation.labelled, key=lambda row: row.score)
    normal = [row for row in known if row.sample.label == NORMAL]
    anomalous = [row for row in known if row.sample.label == ANOMALOUS]
    caught = [row for row in anomalous if row.anomalous is not False]
    by_defect: dict[str, list[ScoredImage]] = {}
    for row in caught:
        by_defect.setdefault(row.sample.defect, []).append(row)
    return {
        "miss": [row for row in anomalous if row.anomalous is False][:_WORST],
        "false_alarm": [row for row in reversed(normal) if row.anomalous is not False][:_WORST],
        "caught": [rows[len(rows) // 2] for rows in by_defect.values()][:_CAUGHT],
    }


def place_for(bundle: Bundle, evaluation: AnyEvaluation, out: Path | None) -> Run:
    """Where an evaluation is written: `out`, else the bundle's own run unless that holds one of other data.

    Nothing is overwritten but an evaluation of the same data; otherwise a new run is made beside it.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        return Run(out, bundle)
    home = bundle.path.parent if bundle.path is not None and bundle.path.name == "bundle" else None
    if home is None or not (home / "log.jsonl").is_file():
        return new_run(Path("runs"), bundle.detector.name, evaluation.dataset.name, "evaluation")
    earlier = home / "metrics.json"
    if earlier.is_file() and _fingerprint_of(earlier) != evaluation.fingerprint:
        return new_run(home.parent, bundle.detector.name, evaluation.dataset.name, "evaluation")
    return Run(home, bundle)


def _fingerprint_of(metrics: Path) -> str | None:
    try:
        return str(json.loads(metrics.read_text(encoding="utf-8"))["data"]["fingerprint"])
    except (ValueError, KeyError, TypeError):
        return None  # damaged, or not ours: left alone
