"""What layouts of videos share: clips as folders of frames, exact names, and masks that belong to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from offnormal.data.array_files import Archive
from offnormal.data.frame_masks import open_masks
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder
from offnormal.sources.video_index import count_frames
from offnormal.types import Item, MaskSource


def holds(root: Path, *names: str) -> bool:
    """Whether a folder holds one with any of these names, in exactly this case, on every file system."""
    return any(folder.name in names for folder in subfolders(root))


def clip_folders(folder: Path, pattern: str = ".*") -> list[Path]:
    """Folders of frames directly in a folder whose whole names match, naturally sorted; empty when it is missing."""
    return list(_clips(folder, pattern))


def has_clips(folder: Path, pattern: str = ".*") -> bool:
    """Whether there is at least one of them."""
    return next(_clips(folder, pattern), None) is not None


def _clips(folder: Path, pattern: str) -> Iterator[Path]:
    if not folder.is_dir() or not holds(folder.parent, folder.name):
        return
    for path in subfolders(folder):
        if re.fullmatch(pattern, path.name) and is_frame_folder(path):
            yield path


def video_items(videos: Sequence[Path]) -> tuple[Item, ...]:
    """Video files and folders of frames, each by its own name."""
    names = (path.name if path.is_dir() else path.stem for path in videos)
    return tuple(Item(address=str(path), is_video=True, name=name) for path, name in zip(videos, names, strict=True))


def names_below(root: Path, videos: Sequence[Path]) -> dict[Path, str]:
    """Video -> its path below a folder without suffix, or with it where two would be called the same."""
    full = {path: path.relative_to(root).as_posix() for path in videos}
    short = {path: name if path.is_dir() else name.removesuffix(path.suffix) for path, name in full.items()}
    shared = Counter(short.values())
    return {path: name if shared[name] == 1 else full[path] for path, name in short.items()}


def checked_masks(masks: MaskSource, video: Path, frames: int | None = None) -> MaskSource:
    """The masks, when there is one for each frame of a folder of frames, or else for each of `frames` labels.

    Reads no mask, only how many there are. DataError when there are more or fewer.
    """
    if masks.path.suffix.lower() == ".npz" and masks.key is not None:
        found = Archive(masks.path).shape(masks.key)[0]
    elif masks.path.suffix.lower() in (".npz", ".mat"):
        return masks  # would be read whole; whoever uses them sees it
    else:
        with open_masks(masks) as opened:
            found = len(opened)
    expected = count_frames(video) if video.is_dir() else frames
    if expected is not None and found != expected:
        raise DataError(f"{masks.path}: {found} masks for the {expected} frames of {video}; expected one mask a frame")
    return masks
