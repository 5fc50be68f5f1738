"""offnormal predict: a bundle and images, videos, or clips -> rows of the score table, alarms, and images."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle
from offnormal.config.score import PredictConfig
from offnormal.data.batches import Loader
from offnormal.data.dataset import Skipped
from offnormal.data.loaders import open_loader
from offnormal.data.resolve import resolve_items, unique_names
from offnormal.data.reuse import NO_REUSE, find_reuse
from offnormal.data.unread import list_masks, list_unread
from offnormal.data.video_loader import VideoOptions
from offnormal.errors import UsageError
from offnormal.evaluation.alarms import AlarmReport, report_alarms
from offnormal.evaluation.table import ASSUMED_FPS, DecisionRule, ScoreTable, tabulate
from offnormal.events.machine import EventRules
from offnormal.files import check_outputs, is_stdout
from offnormal.scoring import FrameStream, ItemScores, ScoredBatch, Scorer, choose_device, score_items
from offnormal.sources.paths import may_lack_clock, to_local_path
from offnormal.sources.video import VideoInfo
from offnormal.types import Item, Unit
from offnormal.verbs.loading import ONLY_FRAMES, known_classes, refuse_options
from offnormal.verbs.pictures import VideoPictures, second_pass, video_info, write_map

_HELD_BYTES = 256 << 20  # decoded frames waiting for their scores, about
_IN_FLIGHT = 4  # batches waiting at once, prefetched frames included
_OF_VIDEOS = ("annotate", "fps", "every", "hold", "as_video", "rules")
_OF_FRAMES = ("annotate", "overlays", "every", "hold", "rules")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """The scores and decisions of one item, and the files written for it."""

    item: Item
    table: ScoreTable  # its rows; a thinned video has all frames, skipped ones without a score
    threshold: float | None  # a score above it is anomalous
    map: np.ndarray | None = None  # (H, W) float32 at input size; images only
    alarms: AlarmReport | None = None  # videos with a threshold only
    seconds: float | None = None  # of footage; videos only
    assumed_fps: float | None = None  # videos without a clock only
    warnings: tuple[str, ...] = ()
    map_path: Path | None = None
    overlays: dict[int, Path] = field(default_factory=dict)  # row -> its heat map
    annotated: Path | None = None

    @property
    def peak(self) -> int | None:
        """The row with the highest score; None without any score."""
        return None if np.isnan(self.table.score).all() else int(np.nanargmax(self.table.score))

    @property
    def is_anomalous(self) -> bool | None:
        """The verdict; a video is anomalous if it has an alarm. None without a threshold, or without any score."""
        if self.threshold is None or self.peak is None:
            return None
        return bool(self.alarms.alarms) if self.alarms is not None else bool(self.table.verdict[0])


class Predictor:
    """Scores items with a bundle as configured; `skipped` lists items that could not be read.

    `reuse` lists items that the bundle used before; it is complete once the first item is scored. progress: called with
    (task, done, total). Raises UsageError for options that exclude each other or do not apply.
    """

    def __init__(
        self, bundle: Bundle, config: PredictConfig, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        if config.hold and config.every is not None:
            raise UsageError(
                "--hold and --every exclude each other: scores are held between windows, not over seconds; drop one"
            )
        self.config = config
        self.skipped: list[Skipped] = []
        self.reuse = NO_REUSE
        self.input = bundle.input_with_mask(config.privacy_mask, config.max_image_pixels)
        self.decide = DecisionRule.from_calibration(bundle.calibration, config.threshold)
        self.scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
        self._progress, self._done = progress, 0
        self._contents = bundle.contents

    def over(self, items: Sequence[Item]) -> Iterator[Prediction]:
        """A prediction per readable item, as soon as it is scored; memory holds one number per frame of a video."""
        items, self.reuse = find_reuse(items, self._contents, exclude=self.config.exclude_known)
        unit = self.input.unit(any(item.is_video for item in items))
        names = unique_names([item.path for item in items])
        if not unit.is_per_frame:
            yield from self._at_once(items, unit, names)
            return
        written = annotated_paths(self.config.annotate, names)
        total = len(self._loader(items, 1)) if self._progress is not None else 0
        for item in items:
            yield from self._video(item, unit, names[item.path], written.get(item.path), total)

    def _at_once(self, items: Sequence[Item], unit: Unit, names: dict[Path, str]) -> Iterator[Prediction]:
        """Images or clips, in batches."""
        loader = self._loader(items, self.config.batch_size, total=len(items))
        for scores in score_items(self.scorer, loader, unit=unit):
            raw = overlay = None
            if self.config.overlays is not None and scores.map is not None:
                overlay, raw = write_map(
                    scores.item.path,
                    scores.map,
                    self.input,
                    self.decide,
                    self.config.overlays / names[scores.item.path],
                )
            yield Prediction(
                item=scores.item,
                table=tabulate(scores, unit, self.decide),
                threshold=self.decide.threshold,
                map=scores.map,
                map_path=raw,
                overlays={} if overlay is None else {0: overlay},
            )
        self.skipped += loader.skipped

    @cached_property
    def _rules(self) -> EventRules:
        return EventRules.from_config(self.config.rules)

    @cached_property
    def _low_threshold(self) -> float | None:
        return self.decide.low_threshold(self.config.rules.hysteresis)

    def _video(self, item: Item, unit: Unit, name: str, target: Path | None, total: int) -> Iterator[Prediction]:
        """One video, or nothing when it is skipped."""
        is_drawing = target is not None or self.config.overlays is not None
        info = video_info(item.path, self.config.fps) if is_drawing else None
        in_one_pass = self.input.sampling == "window"  # a clip over the whole video is scored before it can be drawn
        stream = FrameStream(self.input, hold=True)
        see = stream.add_frame if is_drawing and in_one_pass else None
        loader = self._loader([item], _batch_size(self.config.batch_size, info), total=total, see=see)
        with contextlib.suppress(_SkippedError), self._pictures(name, target, info) as pictures:

            def on_batch(scored: ScoredBatch) -> None:
                if is_drawing:
                    pictures.scale(scored.scores.map)
                    for frame in stream.add_scores(scored):
                        pictures.add(frame)

            scored_items = score_items(self.scorer, loader, unit=unit, hold=self.config.hold, on_batch=on_batch)
            scores = next(iter(scored_items), None)
            self.skipped += loader.skipped
            if scores is None:
                raise _SkippedError
            if is_drawing:
                frames = stream.finish() if in_one_pass else second_pass(item.path, self.config.fps, stream)
                for frame in frames:
                    pictures.add(frame)
        if scores is not None:
            yield self._prediction(scores, unit, target, pictures.drawn)

    def _loader(
        self, items: Sequence[Item], batch_size: int, *, total: int = 0, see: Callable[..., None] | None = None
    ) -> Loader:
        return open_loader(
            items,
            self.input,
            batch_size=batch_size,
            on_error=self.config.on_error,
            workers=self.config.workers,
            progress=None if self._progress is None else self._counter(total),
            videos=VideoOptions(every_s=self.config.every, fps=self.config.fps, on_frame=see),
        )

    def _counter(self, total: int) -> Callable[[int], None]:
        def count(step: int) -> None:
            self._done += step
            if self._progress is not None:
                self._progress("predict", self._done, max(self._done, total))

        return count

    def _pictures(self, name: str, target: Path | None, info: VideoInfo | None) -> VideoPictures:
        every_s = self.config.every
        fps = 1 / every_s if every_s is not None else info.fps if info is not None else None
        return VideoPictures(
            spec=self.input,
            decide=self.decide,
            rules=self._rules,
            low_threshold=self._low_threshold,
            fps=fps or self.config.fps or ASSUMED_FPS,
            annotate=target,
            overlays=None if self.config.overlays is None else self.config.overlays / name,
            is_thinned=every_s is not None,
            hold=self.config.hold,
        )

    def _prediction(self, scores: ItemScores, unit: Unit, target: Path | None, drawn: dict[int, Path]) -> Prediction:
        assert scores.video is not None
        table = tabulate(scores, unit, self.decide)
        assumed_fps = None if table.has_clock else self.config.fps or ASSUMED_FPS
        (series,) = table.series(fps=assumed_fps)
        alarms = None
        if self.decide.threshold is not None:
            alarms = report_alarms([series], self.decide.threshold, self._rules, self._low_threshold)
        return Prediction(
            item=scores.item,
            table=table,
            threshold=self.decide.threshold,
            alarms=alarms,
            seconds=series.clock.seconds,
            assumed_fps=assumed_fps,
            warnings=scores.video.warnings,
            overlays=drawn,
            annotated=target,
        )


class _SkippedError(Exception):
    """The video could not be read to its end; nothing is written for it."""


def items_to_predict(
    names: Sequence[str], config: PredictConfig, bundle: Bundle | None, files: Iterable[Path] = ()
) -> list[Item]:
    """The items that a user named, as the bundle scores them.

    bundle: None if it cannot be loaded, so that wrong names are reported first. files: other inputs.
    Raises UsageError for a mix of images and videos, for options that do not apply to the items, and if an input would
    be overwritten; DataError for names without any item.
    """
    wants_clips = bundle is not None and bundle.input.scores_whole_video
    items = resolve_items(
        names,
        wants_clips=wants_clips,
        as_video=config.as_video,
        known_classes=known_classes(bundle) if bundle is not None and wants_clips else (),
        output_paths=_output_folders(config),
    )
    items = [replace(item, name=item.address) for item in items]  # results are named like the files that the user named
    if wants_clips:
        refuse_options(config, _OF_FRAMES, ONLY_FRAMES)
    elif not items[0].is_video:
        why = "is for videos, and these are images; --as-video reads a folder of images as one"
        refuse_options(config, _OF_VIDEOS, why)
    elif config.fps is not None and not any(may_lack_clock(item.path) for item in items):
        raise UsageError("--fps is for folders of frames and bare streams; these files state their frame rate: drop it")
    bundle_files = () if bundle is None or bundle.path is None else (bundle.path,)
    inputs = (path if path.exists() else path.parent for path in (item.path for item in items))  # an image in a file
    check_outputs(_outputs(config, items), [*inputs, *bundle_files, *files])
    return items


def _outputs(config: PredictConfig, items: Sequence[Item]) -> Iterator[tuple[str, Path | None]]:
    """The files that will be written, as far as their names are certain or such files exist."""
    for option, folder in (("--overlays", config.overlays), ("--annotate", config.annotate)):
        if is_stdout(folder):
            raise UsageError(f"{option} {folder}: images and videos cannot go to stdout; name a file or folder")
    names = unique_names([item.path for item in items])
    yield "--csv", config.csv
    for target in annotated_paths(config.annotate, names).values():
        yield "--annotate", target
    if config.overlays is None:
        return
    for item in items:
        stem = config.overlays / names[item.path]
        if item.is_video:
            pattern = re.compile(rf"{re.escape(stem.name)}-\d{{6,}}\.png")
            existing = stem.parent.iterdir() if stem.parent.is_dir() else ()
            yield from (("--overlays", path) for path in existing if pattern.fullmatch(path.name))
        else:
            yield from (("--overlays", stem.with_name(stem.name + suffix)) for suffix in (".png", ".tiff"))


def unread_inputs(names: Sequence[str], items: Sequence[Item], config: PredictConfig) -> list[Skipped]:
    """Return what the search of the folders that a user named did not read, except for results in them."""
    folders = [path for name in names if (path := to_local_path(name)).is_dir()]
    masks = [] if any(item.is_video for item in items) else [mask for folder in folders for mask in list_masks(folder)]
    used = [*(item.path for item in items), *(mask.path for mask in masks), *_output_folders(config)]
    return [*masks, *list_unread(folders, used)]


def _output_folders(config: PredictConfig) -> list[Path]:
    return [path for path in (config.overlays, config.annotate) if path is not None]


def annotated_paths(target: Path | None, names: dict[Path, str]) -> dict[Path, Path]:
    """Video -> MP4 file to write: `target` itself for one video, else `<name>.mp4` in the folder `target`.

    Raises UsageError for one file for several videos, and for a file that is not MP4.
    """
    if target is None:
        return {}
    suffix = target.suffix.lower()
    if target.is_dir() or not suffix:
        return {path: target / f"{name}.mp4" for path, name in names.items()}
    if suffix != ".mp4":
        raise UsageError(f"--annotate {target}: expected a name that ends in .mp4, or a folder")
    if len(names) > 1:
        raise UsageError(f"--annotate {target}: one file for {len(names)} videos; name a folder")
    return dict.fromkeys(names, target)


def _batch_size(requested: int, info: VideoInfo | None) -> int:
    """The batch size, smaller for large frames, so that frames waiting for their scores fit into bounded memory."""
    if info is None:
        return requested
    height, width = info.size
    return max(1, min(requested, _HELD_BYTES // (_IN_FLIGHT * 3 * height * width)))
