"""offnormal calibrate: other normal images, footage, or clips -> a new threshold for a fitted bundle."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle, load
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.calibration.history import Entry, worse
from offnormal.config.score import CalibrateConfig
from offnormal.data.batches import Loader
from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.open import open_datasets
from offnormal.data.resolve import resolve_items
from offnormal.data.reuse import content_keys, drop_copies, find_reuse
from offnormal.data.unread import skipped_near, with_unread
from offnormal.errors import BundleError, CalibrationError, UsageError
from offnormal.evaluation.table import DecisionRule, ScoreTable, join_tables, tabulate
from offnormal.evaluation.units import TRAITS
from offnormal.events.budget import budget_incidents
from offnormal.events.footage import SHORT_S
from offnormal.events.machine import EventRules
from offnormal.metrics.streams import Stream, join_series
from offnormal.scoring import ItemScores, ScoredBatch, Scorer, choose_device, map_peaks, score_items, was_skipped
from offnormal.sources.privacy import read_privacy_mask
from offnormal.sources.recorder import find_streams
from offnormal.types import Unit
from offnormal.verbs.loading import ONLY_FRAMES, STRETCHES, Progress, known_classes, load_items, refuse_options

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewCalibration:
    """A new calibration, the one before, and where it is stored."""

    calibration: Calibration
    skipped: list[Skipped]
    before: Entry | None
    entry: Entry
    path: Path | None  # of the bundle; None: not on disk

    @property
    def worse(self) -> list[str]:
        """What is worse about its guarantee than before, a phrase each."""
        return [] if self.before is None else worse(self.before, self.entry)


def calibrate_bundle(bundle: Bundle, config: CalibrateConfig, progress: Progress | None = None) -> NewCalibration:
    """Score normals that the detector was not trained on, and add the new calibration to the bundle's history.

    A bundle on disk gets it at once, in one step; a rate that the data cannot support is refused (CalibrationError) and
    the old calibration stays. A guarantee that is worse than before is logged.
    """
    target = _target(bundle, config)
    if config.normal is None:
        raise UsageError("calibrate needs normal images or videos that the detector was not trained on: --normal DIR")
    dataset = _dataset(bundle, config)
    unit = bundle.input.unit(dataset.is_video)
    if unit is Unit.IMAGE:
        refuse_options(config, ("fps", "rules"), "is for videos, and these are images")
    elif unit is Unit.CLIP:
        refuse_options(config, ("rules",), ONLY_FRAMES)
    dataset = _without_training_data(bundle, drop_copies(dataset), unit, exclude=config.exclude_known)
    mask = bundle.detector.input.mask if config.privacy_mask is None else read_privacy_mask(config.privacy_mask)
    loader = load_items(
        dataset.train,
        replace(bundle.input_with_mask(None, config.max_image_pixels), mask=mask),
        config,
        config,
        progress=progress,
        task="calibrate",
    )
    table, peaks = _score(Scorer(bundle.detector, choose_device(config.device, config.threads)), loader, unit)
    series = table.series(fps=config.fps)
    is_in_time = config.rate is not None and not config.rate.is_share
    if config.confidence is not None and not is_in_time:
        raise UsageError("--confidence is for a rate per hour or day: set a rate such as --rate 2/day")
    items = {item.name: item for item in dataset.train}
    streams = find_streams(
        [items[video.name] for video in series],
        [video.clock.seconds for video in series],
        short_s=SHORT_S if is_in_time else 0.0,
    )
    if series and config.rate is not None and is_in_time:
        calibration = budget_incidents(
            [join_series(series, stream) for stream in streams],
            [np.concatenate([peaks[table.items[row].rows] for row in stream.rows]) for stream in streams],
            rate=config.rate,
            confidence=config.confidence,
            rules=EventRules.from_config(config.rules),
            hysteresis=config.rules.hysteresis,
            kind="held_out",
            bundle=bundle.hash,
        ).calibration
    else:
        rows = np.flatnonzero(table.scored)
        has_clock = bool(series) and all(video.clock.has_clock for video in series)
        calibration = calibrate_scores(
            table.score[rows],
            peaks[rows] if TRAITS[unit].pixel else None,
            rate=config.rate,
            kind="held_out",
            bundle=bundle.hash,
            groups=_groups(table, rows, streams),
            units=TRAITS[unit].noun[1],
            times_s=np.concatenate([video.clock.times_s for video in series])[rows] if has_clock else None,
        )
    if mask != bundle.detector.input.mask:
        log.warning("the detector was fitted without this privacy mask: fit it with --privacy-mask for better scores")
        calibration = replace(calibration, mask=mask)
    calibration = replace(calibration, contents=tuple(content_keys(dataset.train)))
    fingerprint = hashlib.sha256("\n".join(calibration.contents).encode()).hexdigest()  # without names, unlike a fit's
    if target.path is None and config.out is not None:
        target = _target(bundle, config)  # another program may have written it meanwhile
    if config.dry_run:
        before = target.history.current_entry
        history = target.history.add(calibration, source=str(config.normal), fingerprint=fingerprint)
    else:
        before = target.replace_calibration(calibration, source=str(config.normal), fingerprint=fingerprint)
        if target.path is None and config.out is not None:
            target.save(config.out)
        history = target.history
    skipped = [*skipped_near(dataset, dataset.train), *loader.skipped]
    entry = history.current_entry
    assert entry is not None
    result = NewCalibration(calibration, skipped, before, entry, target.path or config.out)
    if result.worse:
        undo = "" if config.dry_run else "; offnormal calibrate BUNDLE --undo returns to the old one"
        log.warning("the guarantee is worse than before (%s)%s", "; ".join(result.worse), undo)
    return result


def _target(bundle: Bundle, config: CalibrateConfig) -> Bundle:
    """The bundle that gets the calibration: this one, the copy of it that exists at `out`, or a copy in memory.

    BundleError if `out` is something else.
    """
    if config.out is None or (bundle.path is not None and config.out.resolve() == bundle.path.resolve()):
        return bundle
    if not config.out.exists():
        return bundle.copy()
    existing = load(config.out, calibrated=False)
    if existing.hash != bundle.hash:
        raise BundleError(
            f"--out {config.out}: is a bundle of another detector ({existing.hash}, expected {bundle.hash}); choose "
            "another path"
        )
    return existing


def _dataset(bundle: Bundle, config: CalibrateConfig) -> Dataset:
    assert config.normal is not None
    if not bundle.detector.input.scores_whole_video:
        takes_videos = bundle.input.frames > 1 or bundle.card.get("data", {}).get("kind") == "video"
        layout = "videos" if takes_videos else None  # a folder of images is then footage
        (dataset,) = open_datasets(
            normal=config.normal,
            layout=config.layout or layout,
            group_by=config.group_by,
            accepts_mixed=config.layout is not None,
        )
        return with_unread(dataset, [config.normal])
    clips = tuple(resolve_items([str(config.normal)], wants_clips=True, known_classes=known_classes(bundle)))
    root = config.normal
    dataset = Dataset(name=root.name, layout="class_folders", root=root, train=clips).with_group_by(config.group_by)
    return with_unread(dataset, [root])


def _score(scorer: Scorer, loader: Loader, unit: Unit) -> tuple[ScoreTable, np.ndarray]:
    """The scores of normals as a table, and the highest value (R,) of the map of each row.

    Files that turn out to be damaged are not in it. Raises CalibrationError when none is left.
    """
    of_batches: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)

    def on_batch(scored: ScoredBatch) -> None:
        peaks = map_peaks(scored.scores).reshape(len(scored.samples), -1)
        frames = np.zeros_like(peaks, np.int64)  # of images and clips the one row
        if unit.is_per_frame and scored.frames is not None:
            frames = scored.frames[:, -peaks.shape[1] :]
        for sample, row, at in zip(scored.samples, peaks, frames, strict=True):
            of_batches[sample.item.address].append((row, at))

    scored_items: list[tuple[ItemScores, np.ndarray]] = []
    for scores in score_items(scorer, loader, unit=unit, on_batch=on_batch):
        peaks = np.full(len(scores.score), np.nan)
        for row, at in of_batches.pop(scores.item.address, ()):
            peaks[at] = np.fmax(peaks[at], row)
        scored_items.append((replace(scores, map=None), peaks))
    readable = [entry for entry in scored_items if not was_skipped(entry[0].item, loader.skipped)]
    if not readable:
        raise CalibrationError(f"none of the {len(loader.items)} {TRAITS[unit].item[1]} could be read")
    tables = [tabulate(scores, unit, DecisionRule(None, None)) for scores, _ in readable]
    return join_tables(tables), np.concatenate([peaks for _, peaks in readable])


def _groups(table: ScoreTable, rows: np.ndarray, streams: Sequence[Stream]) -> list[str | None]:
    """The group of each score: that of its item; for frames their stream, or a stretch of the only stream."""
    if not table.unit.is_per_frame:
        return [item.group or None for item in table.items]
    if len(streams) == 1:
        return [f"{table.items[0].name} {row * STRETCHES // len(table)}" for row in rows]
    first = {table.items[row].name: table.items[stream.rows[0]].name for stream in streams for row in stream.rows}
    names = table.item_column(lambda item: first[item.name])
    return [names[row] for row in rows]


def _without_training_data(bundle: Bundle, dataset: Dataset, unit: Unit, *, exclude: bool) -> Dataset:
    """Exclude items that the detector was trained on, or CalibrationError: their scores would be too low."""
    remaining, reuse = find_reuse(dataset.train, bundle.card.get("data", {}).get("contents", ()), exclude=exclude)
    if reuse.items and not exclude:
        noun = TRAITS[unit].item[1]
        raise CalibrationError(
            f"{len(reuse.items)} of {len(dataset.train)} {noun} are training data of this detector: their scores are "
            f"optimistically biased; use other normal {noun}, or exclude these with --exclude-known"
        )
    if note := reuse.note(TRAITS[unit].item):
        log.warning("%s", note)
    return replace(dataset, train=tuple(remaining))
