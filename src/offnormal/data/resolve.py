"""What a user names (files, folders, globs, images inside IDX files, trees of class folders) -> items to score."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from offnormal.data.layouts.class_folders import class_clips, clips_of_class, is_class_folders
from offnormal.data.layouts.ucf_sports import UcfSportsLayout, class_of
from offnormal.errors import DataError, UsageError
from offnormal.sources import idx
from offnormal.sources.image import SUFFIXES
from offnormal.sources.paths import (
    glob_matches,
    images_in,
    is_frame_folder,
    is_image,
    is_video,
    natural_key,
    to_local_path,
    videos_below,
    videos_in,
)
from offnormal.types import Item


def resolve_items(
    names: Iterable[str | Path],
    *,
    kind: Literal["image", "video"] | None = None,
    wants_clips: bool = False,
    as_video: bool = False,
    known_classes: Collection[str] = (),
    written: Iterable[Path] = (),
) -> list[Item]:
    """Files, folders (searched recursively) and globs -> items of one kind, each once, in the order named.

    A glob searches the folders that it finds, as when a shell expands it; an IDX file stands for all images in it,
    FILE/42 for one. An image is named as the user wrote it, a video by `unique_names`.
    kind: "image" takes images alone; "video" videos alone, none where only images are named; None either, not both.
    wants_clips: each video gets one score, and class folders of clips are understood: their clips know their class
    and, as their group, their original.
    as_video: a folder of images is a video, the one named or those below it; a file is one whatever its name.
    known_classes: by which a class folder with a folder for each clip is told from a tree of class folders; without
    them it is one where these folders have numbers for names.
    written: files and folders that are written to; what is stored there is skipped where a folder is searched.
    Raises UsageError for images beside videos, for images where clips are wanted, and where `written` holds the images
    themselves; DataError for a name that matches nothing.
    """
    texts, outputs = [str(name) for name in names], list(written)
    if wants_clips:
        return _clips(texts, as_video, known_classes)
    videos = [] if kind == "image" else _videos(texts, as_video, outputs)
    if videos or kind == "video":
        short = unique_names(videos)
        return [Item(address=str(path), name=short[path], is_video=True) for path in videos]
    images = _once(path for text in texts for path in _images_of(text))
    return [Item(address=str(path), name=str(path)) for path in _without_outputs(images, texts, outputs)]


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Path -> name without suffix for what is written about it, below their common folder; no two are the same.

    >>> sorted(unique_names([Path("a/x.png"), Path("b/x.png"), Path("b/x.jpg")]).values())
    ['a/x', 'b/x.jpg', 'b/x.png']
    """
    if not paths:
        return {}
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    inside = {path: path.absolute().relative_to(root) for path in paths}
    stems = Counter(name.with_suffix("") for name in inside.values())
    return {path: (n if stems[n.with_suffix("")] > 1 else n.with_suffix("")).as_posix() for path, n in inside.items()}


def _places(name: str) -> list[Path]:
    """The file or folder of this name; else what a glob finds."""
    path = to_local_path(name)
    return [path] if name and path.exists() else glob_matches(name)


def _once(paths: Iterable[Path]) -> list[Path]:
    """Each file once, as it was named first; links stay apart."""
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.abspath(path), path)  # noqa: PTH100
    return list(unique.values())


# --- images -----------------------------------------------------------------------------------------------------


def _images_of(name: str) -> list[Path]:
    if not name:
        raise DataError("an empty name: nothing to read; expected a file, folder or glob (. is this folder)")
    path = to_local_path(name)
    wanted = f"an image in it ({', '.join(sorted(SUFFIXES)[:6])}, ...)"
    if path.is_dir():
        images = images_in(path)
    elif path.exists():
        images = idx.list_images(path) if not is_image(path) and idx.is_idx(path) else [path]
    elif idx.parse_address(path) is not None and path.parent.is_file():
        images = [path]
    else:
        wanted = "an existing file, folder or glob with images"
        places = glob_matches(name)
        inside = {image for place in places if place.is_dir() for image in images_in(place)}
        images = sorted({*inside, *(place for place in places if is_image(place) and place.is_file())}, key=natural_key)
    if not images:
        raise DataError(f"{name}: nothing to read; expected {wanted}")
    return images


def _without_outputs(images: list[Path], names: Sequence[str], written: Sequence[Path]) -> list[Path]:
    """The images less those written earlier into a folder below one that is searched."""
    searched = [Path(name).resolve() for name in names if Path(name).is_dir()]
    for place in written:
        out = place.resolve()
        others = [path for path in images if not path.resolve().is_relative_to(out)]
        is_below = any(out != folder and out.is_relative_to(folder) for folder in searched)
        if len(others) < len(images) and not (is_below and others):
            raise UsageError(f"{place} holds the images themselves: choose another folder for what is written")
        images = others
    return images


# --- videos -----------------------------------------------------------------------------------------------------


def _videos(names: Iterable[str], as_video: bool, written: Iterable[Path]) -> list[Path]:
    """The videos named; none where only images are."""
    outputs = [place.resolve() for place in written]

    def searched(paths: Iterable[Path]) -> list[Path]:
        return [path for path in paths if not any(path.resolve().is_relative_to(place) for place in outputs)]

    videos: list[Path] = []
    images: list[Path] = []
    for name in names:
        places = _places(name)
        if as_video:
            videos += _as_videos(name, places, searched)
            continue
        for place in places:
            if place.is_dir():
                videos += searched(videos_in(place, recursive=True))
                images += searched(images_in(place))
            else:
                (videos if is_video(place) else images).append(place)
    if videos and images:
        raise UsageError(
            f"{videos[0]} is a video and {images[0]} an image: name videos and images in calls of their own (the "
            "videos as folder/*.mp4); a folder of frames is read as a video with --as-video"
        )
    return _once(videos)


def _as_videos(name: str, places: Sequence[Path], searched: Callable[[Iterable[Path]], list[Path]]) -> list[Path]:
    if len(places) == 1 and is_image(places[0]) and places[0].is_file():
        raise DataError(f"{places[0]}: an image; --as-video reads a folder of images as a video, name the folder")
    videos: list[Path] = []
    for place in places:
        if not place.is_dir():
            videos += [] if is_image(place) else [place]
        else:
            videos += [place] if is_frame_folder(place) else searched(videos_below(place))
    if not videos:
        raise DataError(f"{name}: no video there; expected a video file, a folder of frames, or a folder with some")
    return videos


# --- clips ------------------------------------------------------------------------------------------------------


def _clips(names: Iterable[str], as_video: bool, known_classes: Collection[str]) -> list[Item]:
    clips: dict[str, Item] = {}
    for name in names:
        place = to_local_path(name)
        for clip in _of_class_folders(place, known_classes) if place.is_dir() else ():
            clips.setdefault(os.path.abspath(clip.address), clip)  # noqa: PTH100 - links stay apart
        if place.is_dir() and _holds_clips(place):
            continue
        videos = _videos([str(video) for video in _beside_their_frames(place)] or [name], as_video, ())
        if not videos:
            raise UsageError(
                f"{name}: images; this detector scores clips: name videos, or with --as-video folders of frames"
            )
        for path in videos:
            clips.setdefault(os.path.abspath(path), Item(address=str(path), name="", is_video=True))  # noqa: PTH100
    if not clips:
        raise DataError("no clips: expected videos or a folder for each class with some")
    short = unique_names([clip.path for clip in clips.values()])
    return [replace(clip, name=short[clip.path]) for clip in clips.values()]


def _holds_clips(place: Path) -> bool:
    return is_class_folders(place) and not videos_in(place) and not is_frame_folder(place)


def _beside_their_frames(place: Path) -> list[Path]:
    """The videos in a folder that has folders of images beside them, as UCF Sports has: these show the same."""
    if not place.is_dir() or not videos_in(place) or any(map(is_image, place.iterdir())):
        return []
    return videos_in(place, recursive=True)


def _of_class_folders(place: Path, known_classes: Collection[str]) -> Sequence[Item]:
    if own := set(videos_in(place)):  # of one class, but which one nobody says; those further down are taken singly
        return [clip for clip in clips_of_class(place, None) if clip.path in own]
    if UcfSportsLayout.recognizes(place):
        return UcfSportsLayout.clips(place)
    if not _holds_clips(place):
        return ()
    inside = [folder.name for folder in place.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    class_name = _class(Path(os.path.abspath(place)).name, known_classes)  # noqa: PTH100 - links keep their names
    is_tree = any(_class(name, known_classes) in known_classes for name in inside)
    if not is_tree and (class_name in known_classes or all(name.isdecimal() for name in inside)):
        return clips_of_class(place, class_name)  # UCF Sports numbers its clips
    return class_clips(place, partial(_class, known_classes=known_classes))


def _class(folder: str, known_classes: Collection[str]) -> str:
    return folder if folder in known_classes else class_of(folder)
