"""Videos among what a user names: files, folders and globs, never together with pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from offnormal.errors import DataError, UsageError
from offnormal.sources.paths import as_written, is_picture, natural_key, pictures_in, readings
from offnormal.sources.video_paths import is_frame_folder, is_video, videos_below, videos_in


def expand_videos(names: Iterable[str | Path], *, as_video: bool = False, written: Iterable[Path] = ()) -> list[Path]:
    """Video files, folders of them (recursively) and globs -> videos, each once, in the order named.

    Empty when only pictures are named. as_video: folders of pictures are videos, too: the folder named, or those below
    it; and a file is one whatever its name. written: files and folders that are written to; what lies there from
    another day is passed over where a folder is searched.
    Raises UsageError for pictures beside videos, DataError with `as_video` for a name without any video.
    """
    places = [place.resolve() for place in written]

    def kept(path: Path) -> bool:
        found = path.resolve()
        return not any(found.is_relative_to(place) for place in places)

    videos: dict[str, Path] = {}
    picture: Path | None = None
    for name in names:
        found, beside = _as_videos(str(name), kept) if as_video else _by_kind(str(name), kept)
        picture = picture or beside
        for path in found:
            videos.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - links stay apart
    if videos and picture is not None:
        raise UsageError(
            f"{next(iter(videos.values()))} is a video and {picture} a picture: judge videos and pictures in calls of "
            "their own (name the videos, folder/*.mp4); a folder of frames is read as a video with --as-video"
        )
    return list(videos.values())


def _by_kind(name: str, kept: Callable[[Path], bool]) -> tuple[list[Path], Path | None]:
    """The videos that one name stands for, and the first of the pictures, if any."""
    videos: list[Path] = []
    pictures: list[Path] = []
    for place in _places(name):
        if place.is_dir():
            videos += filter(kept, videos_in(place, recursive=True))
            pictures += filter(kept, pictures_in(place))
        else:
            (videos if is_video(place) else pictures).append(place)
    return videos, pictures[0] if pictures else None


def _as_videos(name: str, kept: Callable[[Path], bool]) -> tuple[list[Path], Path | None]:
    places = _places(name)
    if len(places) == 1 and is_picture(places[0]) and places[0].is_file():
        raise DataError(f"{places[0]}: a picture; --as-video reads a folder of pictures as a video, name the folder")
    videos: list[Path] = []
    for place in places:
        if not place.is_dir():
            videos += [] if is_picture(place) else [place]
        elif is_frame_folder(place):
            videos.append(place)
        else:
            videos += filter(kept, videos_below(place))
    if not videos:
        raise DataError(f"{name}: no video there; expected a video file, a folder of frames, or a folder with some")
    return videos, None


def _places(name: str) -> list[Path]:
    """The file or folder of this name; else what a glob finds, less files that are neither picture nor video."""
    path = as_written(name)
    if path.exists() and name:
        return [path]
    for matches in readings(name):
        found = [match for match in matches if match.is_dir() or is_video(match) or is_picture(match)]
        if found:
            return sorted(found, key=natural_key)
    return []
