"""offnormal evaluate: a bundle and a labeled dataset -> metrics, score table, report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from offnormal.bundle import Bundle, describe, load
from offnormal.config.score import EvaluateConfig
from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import check_label_count
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.data.reuse import find_reuse
from offnormal.data.unread import skipped_near
from offnormal.errors import DataError
from offnormal.evaluation.evaluate import Evaluation, Partial, evaluate_scores, mean_metrics, metrics_json
from offnormal.evaluation.scores_csv import write_table
from offnormal.evaluation.table import ASSUMED_FPS, DecisionRule, item_label, tabulate
from offnormal.evaluation.units import TRAITS
from offnormal.events.machine import EventRules
from offnormal.files import check_outputs, write_text
from offnormal.metrics.accumulate import PixelScores
from offnormal.report.page import render_evaluation
from offnormal.report.summary import render_summary
from offnormal.run import Run, new_run
from offnormal.scoring import ScoredBatch, Scorer, choose_device, score_items, was_skipped
from offnormal.training.history import read_history
from offnormal.types import ANOMALOUS, InputSpec, Item, Unit
from offnormal.verbs.loading import ONLY_FRAMES, Progress, load_items, open_configured, read_split, refuse_options
from offnormal.verbs.shown_units import ExtremeImages, shown_units
from offnormal.verbs.tracking import update_trackers

_FILES = ("metrics.json", "scores.csv", "report.html", "log.jsonl")


def score_dataset(
    bundle: Bundle, dataset: Dataset, config: EvaluateConfig, progress: Progress | None = None
) -> tuple[Partial, dict[str, str], ExtremeImages]:
    """The scores of the test set, reasons for missing metrics, and the maps of the most extreme images.

    Of a dataset whose classes were divided, the other splits are scored, too. Maps are not kept otherwise: pixel
    metrics gather them in bounded memory. DataError when there is nothing to test on.
    """
    unit = bundle.input.unit(dataset.is_video)
    if unit is Unit.IMAGE:
        refuse_options(config, ("fps", "smooth", "hold", "rules"), "is for videos, and these are images")
    elif unit is Unit.CLIP:
        refuse_options(config, ("smooth", "hold", "rules"), ONLY_FRAMES)
    if not dataset.test:
        raise DataError(f"{dataset.root}: no {TRAITS[unit].item[1]} to test; expected a test folder, or --test DIR")
    remaining, reuse = find_reuse(
        dataset.test, bundle.contents if dataset.split is None else (), exclude=config.exclude_known
    )
    dataset = replace(dataset, test=tuple(remaining))
    items = {item.address: (item, split) for item, split in _items(dataset, unit)}
    tested = [item for item, _ in items.values()]
    without_pixels = why_no_pixels(tested, bundle.input)
    partial = Partial(pixels=PixelScores(max_pixels=config.max_pixels) if without_pixels is None else None)
    ignored = None if bundle.detector.ignored is None else bundle.detector.ignored.cpu().numpy()

    def on_batch(scored: ScoredBatch) -> None:
        if scored.scores.recalled is not None:  # a clip has the label of the last frame that it scores
            partial.memory_use.update(scored.scores.recalled, [sample.label for sample in scored.samples])
        if partial.pixels is not None and scored.scores.map is not None and scored.masks is not None:
            partial.pixels.update(scored.masks, scored.scores.map, ignore=ignored)

    loader = load_items(
        tested,
        bundle.input_with_mask(config.privacy_mask, config.max_image_pixels),
        config,
        config,
        progress=progress,
        task=f"evaluate on {dataset.name}",
        masks=partial.pixels is not None,
    )
    decide, extremes = DecisionRule.from_calibration(bundle.calibration), ExtremeImages(bundle.calibration)
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    start = time.perf_counter()
    scored = []
    for scores in score_items(scorer, loader, unit=unit, hold=config.hold, on_batch=on_batch):
        extremes.offer(scores)
        scored.append(replace(scores, map=None))
    partial.seconds = time.perf_counter() - start
    partial.skipped = [*skipped_near(dataset, dataset.test), *loader.skipped]
    partial.reuse, note = reuse, reuse.note(TRAITS[unit].item)
    partial.notes += [*([] if note is None else [note]), *loader.mask_summary.notes()]
    for scores in scored:
        if was_skipped(scores.item, loader.skipped):
            continue
        item, split = items[scores.item.address]
        table = tabulate(scores, unit, decide, split=split)
        partial.tables.append(table)
        if scores.video is not None:
            partial.warnings[item.name] = scores.video.warnings
            if not table.has_clock:
                partial.assumed_fps = config.fps or ASSUMED_FPS
        if scores.embedding is not None:
            partial.embeddings.append(scores.embedding[None])
        if scores.latent is not None:
            partial.latents.append(scores.latent[None])
    if not partial.tables:
        raise DataError(f"{dataset.root}: none of the {len(items)} {TRAITS[unit].item[1]} could be read")
    return partial, {} if without_pixels is None else {"pixel metrics": without_pixels}, extremes


def evaluate_run(
    bundle: Bundle,
    dataset: Dataset,
    config: EvaluateConfig,
    progress: Progress | None = None,
    out: Path | None = None,
    files: Iterable[Path] = (),
) -> tuple[Evaluation, Run]:
    """Evaluate on one dataset and write metrics.json, scores.csv, and report.html; see `_place_for` for where.

    files: other inputs, which `out` must not replace (UsageError).
    """
    out = out if out is not None else config.out
    if out is not None:
        _check_out(out, [dataset], config, files)
    partial, missing, extremes = score_dataset(bundle, dataset, config, progress)
    evaluation = evaluate_scores(
        dataset,
        partial,
        calibration=bundle.calibration,
        missing=missing,
        bundle=bundle.hash,
        fingerprint=dataset.fingerprint("test"),
        rules=EventRules.from_config(config.rules),
        hysteresis=config.rules.hysteresis,
        smooth_s=config.smooth,
    )
    run = _place_for(bundle, evaluation, out)
    write_table(evaluation.table, run.path / "scores.csv")
    _write_json(run.path / "metrics.json", metrics_json(evaluation))
    history = None if bundle.path is None else read_history(bundle.path.parent / "log.jsonl")
    units = shown_units(bundle, evaluation, config, extremes)
    card = {**bundle.card, **describe(bundle.detector), **bundle.history.facts()}
    write_text(run.path / "report.html", render_evaluation(evaluation, units, card, history))
    for bad in evaluation.skipped:
        run.log("skipped", path=str(bad.path), reason=bad.reason)
    run.log("evaluated", data=str(dataset.root), **evaluation.metrics)
    update_trackers(run)
    return evaluation, run


def evaluate_all(
    path: Path, config: EvaluateConfig, progress: Progress | None = None, files: Iterable[Path] = ()
) -> list[tuple[Evaluation, Run]]:
    """Evaluate a bundle on a dataset; with category "all", the bundle of each category of a run on its own data.

    With several categories a summary page with a mean row is written beside them.
    """
    if config.category != "all":
        (dataset,) = open_configured(config, read_split(path))
        inner = path / dataset.name  # of a run over all categories
        bundle = load(inner if inner.is_dir() else path)
        refuse_learned(bundle, dataset)
        return [evaluate_run(bundle, dataset, config, progress, files=files)]
    done, datasets = [], open_configured(config)
    if config.out is not None:
        _check_out(config.out, datasets, config, files)
    for dataset in datasets:
        if not (path / dataset.name).is_dir():
            raise DataError(f"{path}: no bundle for {dataset.name}; fit it with --category all, or name one category")
        out = config.out / dataset.name if config.out is not None else None
        done.append(evaluate_run(load(path / dataset.name), dataset, config, progress, out, files))
    summary = config.out or path
    pages = [
        (evaluation.dataset.name, evaluation, os.path.relpath(run.path / "report.html", summary))
        for evaluation, run in done
    ]
    write_text(summary / "report.html", render_summary(pages))
    metrics = {evaluation.dataset.name: evaluation.metrics for evaluation, _ in done}
    _write_json(summary / "metrics.json", {"categories": metrics, "mean": mean_metrics(list(metrics.values()))})
    return done


def _check_out(out: Path, datasets: Sequence[Dataset], config: EvaluateConfig, files: Iterable[Path]) -> None:
    """UsageError if an evaluation in `out` would replace an input: an item, a mask, labels, or one of `files`.

    Whatever is in the folders of the data counts, except for an earlier evaluation.
    """
    items = [item for dataset in datasets for item in (*dataset.train, *dataset.test, *dataset.calibration)]
    inputs = [*(item.path for item in items), *(item.masks.path for item in items if item.masks is not None), *files]
    if _fingerprint_of(out / "metrics.json") is None:
        inputs += filter(None, (config.data, config.normal, config.test, config.masks))
    check_outputs([("--out", out / name) for name in _FILES], inputs)


def refuse_learned(bundle: Bundle, dataset: Dataset) -> None:
    """DataError if test clips of a new split were training or calibration clips of the detector."""
    if dataset.split is None:
        return
    if reused := find_reuse(dataset.test, bundle.contents, exclude=False)[1].items:
        raise DataError(
            f"{len(reused)} of the {len(dataset.test)} clips to test on (or exact copies of them) were used for "
            "training or for the threshold: name the run's folder, whose split.json lists which are which, not a "
            "copy of its bundle alone; and keep each clip once"
        )


def why_no_pixels(items: list[Item], spec: InputSpec) -> str | None:
    """Why pixel metrics cannot be computed; None when they can."""
    if not spec.targets:
        return "the detector scores clips as a whole"
    if all(item.masks is None for item in items):
        return "there are no masks"
    bare = [item for item in items if item.masks is None and _may_be_anomalous(item)]
    if bare:
        what = "may be anomalous and have no mask"
        return f"{len(bare)} of {len(items)} items {what}; the first is {bare[0].name}"
    return None


def _place_for(bundle: Bundle, evaluation: Evaluation, out: Path | None) -> Run:
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


def _items(dataset: Dataset, unit: Unit) -> list[tuple[Item, str]]:
    """The items to score, clips with their split; an item in two splits counts as test."""
    if unit is not Unit.CLIP:
        return [(_with_labels(item), "") for item in dataset.test]
    others = [("train", dataset.train), ("calibration", dataset.calibration)] if dataset.split is not None else []
    tested = [(item, "anomalous" if item_label(item) == ANOMALOUS else "test") for item in dataset.test]
    return [*((item, split) for split, items in others for item in items), *tested]


def _with_labels(item: Item) -> Item:
    """The item with frame labels from its masks, if it has no other labels."""
    if not item.is_video or item.masks is None or item.frame_labels is not None or item.label is not None:
        return item
    with open_masks(item.masks) as masks:
        labels = check_label_count(frame_labels(masks), item.path, str(item.masks.path))
    return replace(item, frame_labels=labels)


def _may_be_anomalous(item: Item) -> bool:
    if item.frame_labels is not None:
        return bool(item.frame_labels.any())
    return item.label == ANOMALOUS or (item.is_video and item.label is None)


def _write_json(path: Path, values: dict[str, object]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _fingerprint_of(metrics: Path) -> str | None:
    try:
        return str(json.loads(metrics.read_text(encoding="utf-8"))["data"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing, damaged, or written by another program
