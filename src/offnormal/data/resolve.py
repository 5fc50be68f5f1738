"""Resolves files, folders, globs, images inside IDX files, and trees of class folders to items."""

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
from offnormal.data.mask_names import without_masks
from offnormal.data.page_items import expand_pages
from offnormal.errors import DataError, UsageError
from offnormal.sources import idx
from offnormal.sources.image import SUFFIXES
from offnormal.sources.pages import parse_address
from offnormal.sources.paths import (
    glob_matches,
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
    output_paths: Iterable[Path] = (),
) -> list[Item]:
    """Resolve files, folders (searched recursively), and globs to items of one kind, without duplicates, in order.

    A glob also searches the folders that it matches, as if a shell had expanded it. Masks in a searched folder, by the
    names of files and folders, are not images. An IDX file resolves to all its
    images, FILE/42 to one; a file with several pages or frames to all of them, `x.tif[2]` to the second. An image is
    named as the user wrote it, a video by `unique_names`.
    kind: "image" resolves only images; "video" only videos, and to an empty list if there are only images; None either.
    wants_clips: each video gets one score; clips in class folders get their class, and their original as group.
    as_video: a folder of images is a video, at any depth; a file is a video whatever its name.
    known_classes: names that distinguish a class folder with one folder per clip from a tree of class folders; without
    them, folder names that are numbers are clips.
    output_paths: files and folders of results, which the search of a folder skips.
    Raises UsageError for images together with videos, for images if clips are expected, and if `output_paths` contain
    the images themselves; DataError for a name that matches nothing.
    """
    texts, outputs = [str(name) for name in names], list(output_paths)
    if wants_clips:
        return _resolve_clips(texts, as_video, known_classes)
    videos = [] if kind == "image" else _resolve_videos(texts, as_video, outputs)
    if videos or kind == "video":
        short = unique_names(videos)
        return [Item(address=str(path), name=short[path], is_video=True) for path in videos]
    images = _deduplicate(path for text in texts for path in _resolve_images(text))
    images = _without_outputs(images, texts, outputs)
    return list(expand_pages(Item(address=str(path), name=str(path)) for path in images))


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return path -> unique name for output files: the path below the common folder, without suffix if possible.

    >>> sorted(unique_names([Path("a/x.png"), Path("b/x.png"), Path("b/x.jpg")]).values())
    ['a/x', 'b/x.jpg', 'b/x.png']
    """
    if not paths:
        return {}
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    relative = {path: path.absolute().relative_to(root) for path in paths}
    stems = Counter(name.with_suffix("") for name in relative.values())
    return {path: (n if stems[n.with_suffix("")] > 1 else n.with_suffix("")).as_posix() for path, n in relative.items()}


def _match_paths(name: str) -> list[Path]:
    """Return the file or folder of this name; if there is none, the matches of the name as a glob."""
    path = to_local_path(name)
    return [path] if name and path.exists() else glob_matches(name)


def _deduplicate(paths: Iterable[Path]) -> list[Path]:
    """Return each file once, as first named; links count as different files."""
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.abspath(path), path)  # noqa: PTH100
    return list(unique.values())


# --- images -----------------------------------------------------------------------------------------------------


def _resolve_images(name: str) -> list[Path]:
    if not name:
        raise DataError("empty name: no image; expected a file, folder, or glob (. is this folder)")
    path = to_local_path(name)
    expected = f"at least one image ({', '.join(sorted(SUFFIXES)[:6])}, ...)"
    if path.is_dir():
        images, expected = without_masks(path), f"{expected} that is not a mask by its name"
    elif path.exists():
        images = idx.list_images(path) if not is_image(path) and idx.is_idx(path) else [path]
    elif (inside := parse_address(path)) is not None and inside[0].is_file():
        images = [path]
    else:
        expected = "an existing file, folder, or glob with images"
        matches = glob_matches(name)
        in_folders = {image for match in matches if match.is_dir() for image in without_masks(match)}
        files = (match for match in matches if is_image(match) and match.is_file())
        images = sorted({*in_folders, *files}, key=natural_key)
    if not images:
        raise DataError(f"{name}: no image; expected {expected}")
    return images


def _without_outputs(images: list[Path], names: Sequence[str], outputs: Sequence[Path]) -> list[Path]:
    """Remove images in output paths below a searched folder."""
    searched = [Path(name).resolve() for name in names if Path(name).is_dir()]
    for output in outputs:
        resolved = output.resolve()
        inputs = [path for path in images if not path.resolve().is_relative_to(resolved)]
        is_below = any(resolved != folder and resolved.is_relative_to(folder) for folder in searched)
        if len(inputs) < len(images) and not (is_below and inputs):
            raise UsageError(f"{output} contains the input images; choose another output folder")
        images = inputs
    return images


# --- videos -----------------------------------------------------------------------------------------------------


def _resolve_videos(names: Iterable[str], as_video: bool, outputs: Iterable[Path]) -> list[Path]:
    """Resolve names to videos; empty if there are only images."""
    resolved = [output.resolve() for output in outputs]

    def without_outputs(paths: Iterable[Path]) -> list[Path]:
        return [path for path in paths if not any(path.resolve().is_relative_to(output) for output in resolved)]

    videos: list[Path] = []
    images: list[Path] = []
    for name in names:
        matches = _match_paths(name)
        if as_video:
            videos += _resolve_as_videos(name, matches, without_outputs)
            continue
        for match in matches:
            if match.is_dir():
                videos += without_outputs(videos_in(match, recursive=True))
                images += without_outputs(without_masks(match))
            else:
                (videos if is_video(match) else images).append(match)
    if videos and images:
        raise UsageError(
            f"{videos[0]} is a video and {images[0]} is an image; use separate calls for videos (folder/*.mp4) and "
            "images; --as-video reads a folder of frames as a video"
        )
    return _deduplicate(videos)


def _resolve_as_videos(
    name: str, matches: Sequence[Path], without_outputs: Callable[[Iterable[Path]], list[Path]]
) -> list[Path]:
    if len(matches) == 1 and is_image(matches[0]) and matches[0].is_file():
        raise DataError(f"{matches[0]}: an image; --as-video expects the folder of images")
    videos: list[Path] = []
    for match in matches:
        if not match.is_dir():
            videos += [] if is_image(match) else [match]
        else:
            videos += [match] if is_frame_folder(match) else without_outputs(videos_below(match))
    if not videos:
        raise DataError(f"{name}: no video; expected a video file, a folder of frames, or a folder of these")
    return videos


# --- clips ------------------------------------------------------------------------------------------------------


def _resolve_clips(names: Iterable[str], as_video: bool, known_classes: Collection[str]) -> list[Item]:
    clips: dict[str, Item] = {}
    for name in names:
        path = to_local_path(name)
        for clip in _clips_of_class_folders(path, known_classes) if path.is_dir() else ():
            clips.setdefault(os.path.abspath(clip.address), clip)  # noqa: PTH100 - links are different files
        if path.is_dir() and _contains_only_class_folders(path):
            continue
        videos = _resolve_videos([str(video) for video in _videos_with_frames(path)] or [name], as_video, ())
        if not videos:
            raise UsageError(
                f"{name}: images; this detector scores clips: use videos, or folders of frames with --as-video"
            )
        for video in videos:
            clips.setdefault(os.path.abspath(video), Item(address=str(video), name="", is_video=True))  # noqa: PTH100
    if not clips:
        raise DataError("no clips; expected videos, or one folder of videos per class")
    short = unique_names([clip.path for clip in clips.values()])
    return [replace(clip, name=short[clip.path]) for clip in clips.values()]


def _contains_only_class_folders(path: Path) -> bool:
    return is_class_folders(path) and not videos_in(path) and not is_frame_folder(path)


def _videos_with_frames(path: Path) -> list[Path]:
    """Return the videos of a folder that also has folders with their frames, as in UCF Sports."""
    if not path.is_dir() or not videos_in(path) or any(map(is_image, path.iterdir())):
        return []
    return videos_in(path, recursive=True)


def _clips_of_class_folders(path: Path, known_classes: Collection[str]) -> Sequence[Item]:
    if videos := set(videos_in(path)):  # clips of one unknown class; videos in subfolders are resolved separately
        return [clip for clip in clips_of_class(path, None) if clip.path in videos]
    if UcfSportsLayout.recognizes(path):
        return UcfSportsLayout.clips(path)
    if not _contains_only_class_folders(path):
        return ()
    folders = [folder.name for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    class_name = _class_of_folder(Path(os.path.abspath(path)).name, known_classes)  # noqa: PTH100 - keep link names
    is_tree = any(_class_of_folder(name, known_classes) in known_classes for name in folders)
    if not is_tree and (class_name in known_classes or all(name.isdecimal() for name in folders)):
        return clips_of_class(path, class_name)  # UCF Sports numbers its clips
    return class_clips(path, partial(_class_of_folder, known_classes=known_classes))


def _class_of_folder(folder: str, known_classes: Collection[str]) -> str:
    return folder if folder in known_classes else class_of(folder)
