"""offnormal predict with a detector of whole clips: bundle x class folders or videos -> one verdict a clip."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from offnormal.bundle import Bundle
from offnormal.config.score import PredictConfig
from offnormal.data.layouts.class_folders import class_clips, clips_of_class, is_class_folders
from offnormal.data.layouts.ucf_sports import UcfSportsLayout, class_of
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import DataError, UsageError
from offnormal.sources.footage import expand_videos
from offnormal.sources.paths import as_written, is_picture
from offnormal.sources.video_paths import is_frame_folder, videos_in
from offnormal.types import Verdict, Video
from offnormal.verbs.judging import Judging
from offnormal.verbs.loading import split_beside
from offnormal.verbs.predict import unique_names

_OF_FRAMES = ("annotate", "overlays", "every", "hold")


@dataclass(frozen=True, slots=True)
class ClipPrediction:
    """What is said of one clip."""

    video: Video
    verdict: Verdict


class ClipPredictor(Judging):
    """Goes over clips in order; `skipped` lists those that could not be read."""

    def over(self, videos: Sequence[Video]) -> Iterator[ClipPrediction]:
        """A prediction per readable clip, as soon as its batch is scored; nothing is kept."""
        by_path = {video.path: video for video in videos}
        loader = VideoLoader(
            videos,
            self.input,
            batch_size=self.config.batch_size,
            on_error=self.config.on_error,
            fps=self.config.fps,
            workers=self.config.workers,
            progress=self.counter(len(videos)),
        )
        for scored in self.scorer.over(loader):
            for sample, score in zip(scored.samples, scored.scores.score.tolist(), strict=True):
                yield ClipPrediction(by_path[sample.path], self.verdict(score))
        self.skipped = loader.skipped


def classes_known(bundle: Bundle) -> frozenset[str]:
    """The classes that the run of a bundle was divided by; none of a bundle that is not in its run."""
    split = None if bundle.path is None else split_beside(bundle.path)
    return frozenset() if split is None else frozenset((*split.classes.normal, *split.classes.anomalous))


def clips_named(names: Sequence[str | Path], *, known: Collection[str] = (), as_video: bool = False) -> list[Video]:
    """The clips that a user names: trees of class folders, one class folder, and videos as `expand_videos` takes them.

    Clips of class folders know their class and their original, those in a folder of videos alone their original.
    known: classes, by which a class folder with a folder for each clip is told from a tree of class folders; without
    them it is one where these folders have numbers for names.
    Raises DataError for a name without any, UsageError for pictures.
    """
    found: dict[str, Video] = {}
    for name in names:
        place = as_written(name)
        for clip in _of_folder(place, known) if place.is_dir() else ():
            found.setdefault(os.path.abspath(clip.path), clip)  # noqa: PTH100 - links stay apart
        if place.is_dir() and _holds_clips(place):
            continue
        videos = expand_videos(_with_its_frames(place) or [name], as_video=as_video)
        if not videos:
            raise UsageError(
                f"{name}: pictures; this detector scores clips: name videos, or with --as-video folders of frames"
            )
        for path in videos:
            found.setdefault(os.path.abspath(path), Video(path=path, name=""))  # noqa: PTH100
    clips = list(found.values())
    if not clips:
        raise DataError("no clips: expected videos or a folder for each class with some")
    short = unique_names([clip.path for clip in clips])
    return [
        Video(path=clip.path, name=short[clip.path], group=clip.group, label=clip.label, action=clip.action)
        for clip in clips
    ]


def refuse_options_of_frames(config: PredictConfig) -> None:
    """UsageError for options that say something of single frames."""
    for option in _OF_FRAMES:
        if getattr(config, option) not in (None, False):
            raise UsageError(
                f"--{option} is about single frames, and this detector gives one score for a whole clip: leave it out"
            )


def _holds_clips(place: Path) -> bool:
    return is_class_folders(place) and not videos_in(place) and not is_frame_folder(place)


def _with_its_frames(place: Path) -> list[Path]:
    """The videos in a folder that has folders of pictures beside them, as UCF Sports has: these show the same."""
    if not place.is_dir() or not videos_in(place) or any(is_picture(path) for path in place.iterdir()):
        return []
    return videos_in(place, recursive=True)


def _of_folder(place: Path, known: Collection[str]) -> Sequence[Video]:
    if own := set(videos_in(place)):  # of one class, but which one nobody says; those further down are taken singly
        return [clip for clip in clips_of_class(place, None) if clip.path in own]
    if UcfSportsLayout.recognises(place):
        return UcfSportsLayout.clips(place)
    if not _holds_clips(place):
        return ()
    inside = [folder.name for folder in place.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    action = _class(Path(os.path.abspath(place)).name, known)  # noqa: PTH100 - links keep their names
    is_tree = any(_class(name, known) in known for name in inside)
    if not is_tree and (action in known or all(name.isdecimal() for name in inside)):  # as UCF Sports numbers them
        return clips_of_class(place, action)
    return class_clips(place, partial(_class, known=known))


def _class(folder: str, known: Collection[str]) -> str:
    return folder if folder in known else class_of(folder)
