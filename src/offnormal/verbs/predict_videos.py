"""offnormal predict on videos: bundle x videos -> a score for every frame, alarms, annotated video, in one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle
from offnormal.config import PredictConfig
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import UsageError, VideoError
from offnormal.metrics.operational import Alarm, Operation, operate
from offnormal.metrics.video import FrameScores
from offnormal.scoring import FrameStream, Scored, ScoredFrame, VideoScores, score_videos
from offnormal.sources.footage import expand_videos
from offnormal.sources.privacy import paint
from offnormal.sources.video import VideoInfo, open_video
from offnormal.types import Video
from offnormal.verbs.judging import Judging
from offnormal.verbs.predict import unique_names
from offnormal.verbs.video_pictures import VideoPictures
from offnormal.video_evaluation import NotScored, ScoredVideo

_HELD_BYTES = 256 << 20  # of decoded frames that wait for their scores, about
_PLAYED_FPS = 25.0  # at which an annotated video is played whose frames have no clock
_IN_FLIGHT = 4  # times the batch: frames that wait at once, those read ahead included
_VIDEOS_ONLY = ("annotate", "fps", "every", "hold", "as_video")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoPrediction:
    """What is said of one video."""

    scored: ScoredVideo
    threshold: float | None  # a score above it is anomalous
    operation: Operation | None  # its alarms; None: there is no threshold, or no clock
    seconds: float | None  # of footage; None: it has no clock
    looked_at: np.ndarray  # (T,) bool: all frames, or with `every` those with a score
    annotated: Path | None = None
    pictures: dict[int, Path] = field(default_factory=dict)  # frame -> picture of it: of each alarm the highest

    @property
    def path(self) -> Path:
        """Of the video."""
        return self.scored.video.path

    @property
    def alarms(self) -> list[Alarm]:
        """By time; none where there is no threshold or no clock."""
        return [] if self.operation is None else self.operation.alarms

    @property
    def is_anomalous(self) -> bool:
        """Whether a frame is above the threshold."""
        return self.threshold is not None and bool((self.scored.scores.scores > self.threshold).any())

    @property
    def peak(self) -> int | None:
        """The frame with the highest score; None when no frame has one."""
        scores = self.scored.scores.scores
        return None if np.isnan(scores).all() else int(np.nanargmax(scores))


class VideoPredictor(Judging):
    """Goes over videos in order, each decoded once; `skipped` lists those that could not be read."""

    def __init__(
        self, bundle: Bundle, config: PredictConfig, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        if config.hold and config.every is not None:
            raise UsageError("--hold and --every together: scores are held between windows, not over seconds; drop one")
        super().__init__(bundle, config, progress)
        self.threshold = config.threshold if self.calibration is None else self.calibration.threshold

    def over(self, paths: Sequence[Path]) -> Iterator[VideoPrediction]:
        """A prediction per readable video as soon as it is finished; of one video memory holds a number a frame."""
        names = unique_names(paths)
        written = annotated_paths(self.config.annotate, names)
        videos = [Video(path=path, name=names[path]) for path in paths]
        count = self._clips_counted(videos)
        for video in videos:
            yield from self._one(video, written.get(video.path), count)

    def _clips_counted(self, videos: Sequence[Video]) -> Callable[[int], None] | None:
        """What counts clips for the progress of all videos together."""
        if self.progress is None:
            return None
        loader = VideoLoader(videos, self.input, batch_size=1, every_s=self.config.every_s, fps=self.config.fps)
        return self.counter(len(loader))

    def _one(self, video: Video, target: Path | None, count: Callable[[int], None] | None) -> Iterator[VideoPrediction]:
        """One video, or nothing when it is left out."""
        config, spec = self.config, self.input
        drawing = target is not None or config.overlays is not None
        info = _info(video.path, config.fps) if drawing else None
        at_once = spec.sampling == "window"  # a clip over the whole video is scored before its first frame is drawn
        stream = FrameStream(spec, hold=True)
        loader = VideoLoader(
            [video],
            spec,
            batch_size=_batch_size(config.batch_size, info),
            every_s=config.every_s,
            on_bad=config.on_bad,
            fps=config.fps,
            workers=config.workers,
            progress=count,
            seen=stream.see if drawing and at_once else None,
        )
        with contextlib.suppress(_LeftOutError), self._pictures(video, target, info) as pictures:

            def each(scored: Scored) -> None:
                if drawing:
                    pictures.scale(scored.scores.map)
                    for found in stream.take(scored):
                        pictures.add(found)

            scores = list(score_videos(self.scorer, loader, hold=config.hold, each=each))
            self.skipped += loader.skipped
            if not scores:
                raise _LeftOutError
            if drawing:
                for found in stream.end() if at_once else _second_pass(video.path, config.fps, stream):
                    pictures.add(found)
        for video_scores in scores:
            yield self._prediction(video_scores, target, pictures.drawn)

    def _pictures(self, video: Video, target: Path | None, info: VideoInfo | None) -> VideoPictures:
        every_s = self.config.every_s
        fps = 1 / every_s if every_s is not None else info.fps if info is not None else None
        return VideoPictures(
            spec=self.input,
            calibration=self.calibration,
            threshold=self.threshold,
            merge_gap_s=self.config.merge_gap_s,
            fps=fps or _PLAYED_FPS,
            name=video.name,
            annotate=target,
            overlays=self.config.overlays,
            thinned=every_s is not None,
            hold=self.config.hold,
        )

    def _prediction(self, found: VideoScores, target: Path | None, pictures: dict[int, Path]) -> VideoPrediction:
        ended, score = found.ended, found.aligned.score
        series = ended.scores(score)
        tail = None
        if self.calibration is not None:
            tail = np.full(len(score), np.nan)
            tail[~np.isnan(score)] = self.calibration.tail_probability(score[~np.isnan(score)].astype(np.float64))
        scored = ScoredVideo(
            video=ended.video,
            scores=series,
            tail_probability=tail,
            not_scored=tuple(NotScored(*span) for span in found.aligned.reasons),
            parts=found.parts,
            warnings=ended.warnings,
        )
        thinned = self.config.every is not None and not np.isnan(score).all()
        looked_at = ~np.isnan(score) if thinned else np.ones(len(score), np.bool_)
        return VideoPrediction(
            scored=scored,
            threshold=self.threshold,
            operation=self._operation(series),
            seconds=series.clock.seconds,
            looked_at=looked_at,
            annotated=target,
            pictures=pictures,
        )

    def _operation(self, series: FrameScores) -> Operation | None:
        """Alarms of one video."""
        if self.threshold is None or not series.clock.has_clock:
            return None
        return operate([series], self.threshold, merge_gap_s=self.config.merge_gap_s)


class _LeftOutError(Exception):
    """The video could not be read to its end, and nothing is to be written of it."""


def videos_among(names: Sequence[str], config: PredictConfig) -> list[Path]:
    """The videos that a user named, or none where these are pictures.

    Raises UsageError for pictures beside videos, for options that belong to videos alone with pictures, and where a
    video would be written over; DataError with `as_video` for names without a video.
    """
    written = [path for path in (config.overlays, config.annotate) if path is not None]
    videos = expand_videos(names, as_video=config.as_video, written=written)
    if not videos:
        for option in _VIDEOS_ONLY:
            if getattr(config, option) not in (None, False):
                raise UsageError(
                    f"--{option.replace('_', '-')} is for videos, and these are pictures; with --as-video a folder of "
                    "pictures is read as a video"
                )
        return []
    if config.fps is not None and not any(path.is_dir() for path in videos):
        raise UsageError("--fps is the rate of folders of frames; video files state their own: leave it out")
    own = {path.resolve() for path in videos}
    for path in annotated_paths(config.annotate, unique_names(videos)).values():
        if path.resolve() in own:
            raise UsageError(f"--annotate would write over the video {path} itself: choose another name")
    return videos


def annotated_paths(target: Path | None, names: dict[Path, str]) -> dict[Path, Path]:
    """Video -> MP4 to write of it: `target` itself for one video, else `<name>.mp4` in the folder `target`.

    Raises UsageError for a file that is to hold several videos, or is no MP4.
    """
    if target is None:
        return {}
    suffix = target.suffix.lower()
    if target.is_dir() or not suffix:
        return {path: target / f"{name}.mp4" for path, name in names.items()}
    if suffix != ".mp4":
        raise UsageError(f"--annotate {target}: MP4 is what is written; end the name in .mp4, or name a folder")
    if len(names) > 1:
        raise UsageError(
            f"--annotate {target}: one file for {len(names)} videos; name a folder, which gets one of each"
        )
    return dict.fromkeys(names, target)


def _info(path: Path, fps: float | None) -> VideoInfo | None:
    """What the video says of itself; None where it cannot be read, which is told when it is scored."""
    try:
        with open_video(path, fps=fps if path.is_dir() else None) as reader:
            return reader.info
    except VideoError:
        return None


def _batch_size(wanted: int, info: VideoInfo | None) -> int:
    """The batch, smaller for large frames that wait for their scores, so that they fit into bounded memory."""
    if info is None:
        return wanted
    height, width = info.size
    return max(1, min(wanted, _HELD_BYTES // (_IN_FLIGHT * 3 * height * width)))


def _second_pass(path: Path, fps: float | None, stream: FrameStream) -> Iterator[ScoredFrame]:
    """The frames of a video that was scored before, decoded again."""
    with open_video(path, fps=fps if path.is_dir() else None) as reader:
        for frame in reader.frames():
            stream.see(replace(frame, image=paint(frame.image, stream.spec.mask)))
            yield from stream.until(frame.index + 1)
