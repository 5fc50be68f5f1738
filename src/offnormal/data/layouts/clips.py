"""Shared code of video layouts: clips as folders of frames, unique names, and the number of masks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from offnormal.data.array_files import Archive
from offnormal.data.frame_labels import check_count
from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import VideoError
from offnormal.sources.paths import is_frame_folder
from offnormal.sources.video_index import count_frames
from offnormal.types import Item, MaskSource


def inner_folder(root: Path, name: str) -> Path:
    """Return the folder of this name in which an archive unpacks, or the root itself."""
    return root / name if (root / name).is_dir() else root


def has_subfolder(root: Path, *names: str) -> bool:
    """Whether a folder has a subfolder with one of these names, case-sensitive on every file system."""
    return any(folder.name in names for folder in subfolders(root))


def clip_folders(folder: Path, pattern: str = ".*") -> list[Path]:
    """Return the folders of frames in a folder whose full names match, naturally sorted; empty if it does not exist."""
    return list(_clips(folder, pattern))


def has_clips(folder: Path, pattern: str = ".*") -> bool:
    """Whether `clip_folders` is not empty."""
    return next(_clips(folder, pattern), None) is not None


def _clips(folder: Path, pattern: str) -> Iterator[Path]:
    if not folder.is_dir() or not has_subfolder(folder.parent, folder.name):
        return
    for path in subfolders(folder):
        if re.fullmatch(pattern, path.name) and is_frame_folder(path):
            yield path


def video_items(videos: Sequence[Path]) -> tuple[Item, ...]:
    """Return items for video files and folders of frames, each named after its file or folder."""
    names = (path.name if path.is_dir() else path.stem for path in videos)
    return tuple(Item(address=str(path), is_video=True, name=name) for path, name in zip(videos, names, strict=True))


def count_if_readable(video: Path) -> int | None:
    """Return the number of frames; None for a file that is reported or skipped when its frames are read."""
    try:
        return count_frames(video)
    except VideoError:
        return None


def relative_names(root: Path, videos: Sequence[Path]) -> dict[Path, str]:
    """Return video -> path relative to a folder without suffix, or with it if two names would be the same."""
    full = {path: path.relative_to(root).as_posix() for path in videos}
    short = {path: name if path.is_dir() else name.removesuffix(path.suffix) for path, name in full.items()}
    counts = Counter(short.values())
    return {path: name if counts[name] == 1 else full[path] for path, name in short.items()}


def check_mask_count(masks: MaskSource, video: Path, frames: int | None = None) -> MaskSource:
    """Return the masks if there is one per frame; DataError otherwise.

    frames: the number of frames, if it was checked before. Reads only the number of masks.
    """
    if masks.path.suffix.lower() == ".npz" and masks.key is not None:
        count = Archive(masks.path).shape(masks.key)[0]
    elif masks.path.suffix.lower() in (".npz", ".mat"):
        return masks  # reading them takes long; a wrong number is reported when they are used
    else:
        with open_masks(masks) as opened:
            count = len(opened)
    if count != frames:
        check_count(count, "mask", video, str(masks.path))
    return masks
