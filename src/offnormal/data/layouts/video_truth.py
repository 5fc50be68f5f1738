"""Finds labels and masks of your own videos by name.

The labels of video NAME are the first of `labels/NAME.npy|.csv|.txt`, a file of the same name next to the video, and
`frame_labels_NAME` in `gt.npz`. The masks are the first of `masks/NAME.npy|.npz|.mat`, the images in `masks/NAME/`,
and `mask_NAME` or `mask_NAME_packed` (numpy.packbits along the last axis) in `gt.npz`. `labels`, `masks`, and `gt.npz`
are in the test folder or next to it; `Label` and `mask` are the same names.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offnormal.data.array_files import Archive
from offnormal.data.dataset import Skipped
from offnormal.data.folder_words import meanings_of
from offnormal.data.frame_labels import LABEL_SUFFIXES, check_label_count, parse_labels, read_labels
from offnormal.data.layouts.clips import check_mask_count
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder, natural_key
from offnormal.sources.video_index import frame_size
from offnormal.types import Item, MaskSource

LABELS, MASKS, ARCHIVE = "labels", "masks", "gt.npz"
_MASK_SUFFIXES = (".npy", ".npz", ".mat")
_ARRAYS = (
    ("frame_labels_", ""),
    ("mask_", ""),
    ("mask_", "_packed"),
    ("shape_", ""),
)  # prefix and suffix of names in an archive


log = logging.getLogger(__name__)


def says_truth(folder: str) -> bool:
    """Whether the whole name of a folder says labels or masks."""
    return meanings_of(folder, whole=True) == ["mask"]


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The labels and masks of the test videos in a folder."""

    folders: tuple[Path, ...]  # folders that may contain labels, masks, and gt.npz
    archive: Archive | None

    @classmethod
    def find(cls, test: Path) -> GroundTruth:
        """Find the ground truth in or next to a folder of test videos, or next to a single video."""
        folders = (test.parent, test) if test.is_dir() else (test.parent,)
        archive = _first_file(folder / ARCHIVE for folder in folders)
        for inner in (inner for folder in folders for inner in subfolders(folder) if says_truth(inner.name)):
            if not (_is_named(inner, LABELS) or _is_named(inner, MASKS)):
                log.warning("%s: not used; expected the name labels, or masks for anomalous pixels", inner)
        return cls(folders, Archive(archive) if archive else None)

    def videos(self, paths: Mapping[str, Path]) -> tuple[Item, ...]:
        """Return the test videos (by name) with labels and masks; DataError if there are labels but none matches."""
        videos = tuple(self._video(name, path) for name, path in paths.items())
        if videos and all(video.frame_labels is None for video in videos) and (unused := self._label_names()):
            raise DataError(
                f"{self.folders[0]}: labels for {', '.join(unused[:4])}, but the test videos are "
                f"{', '.join(list(paths)[:4])}; expected the same names"
            )
        return videos

    def unused(self, videos: Collection[str]) -> tuple[Skipped, ...]:
        """Return the arrays of the archive and the files of labels that belong to none of the videos (names)."""
        skipped = [] if self.archive is None else _unused_arrays(self.archive, videos)
        for folder in self._named(LABELS):
            for file in sorted(folder.rglob("*"), key=natural_key):
                stem = file.relative_to(folder).as_posix().removesuffix(file.suffix)
                if file.suffix in LABEL_SUFFIXES and stem not in videos and not file.name.startswith("."):
                    reason = f"{file}: labels for {stem}, but no test video has this name; rename it or the video"
                    skipped.append(Skipped(file, reason, "unmatched label file"))
        return tuple(skipped)

    def _video(self, name: str, path: Path) -> Item:
        labels, masks = self._labels(name, path), self._masks(name, path)
        if masks is not None:
            check_mask_count(masks, path, None if labels is None else len(labels))
        return Item(address=str(path), is_video=True, name=name, frame_labels=labels, masks=masks)

    def _labels(self, name: str, path: Path) -> np.ndarray | None:
        next_to_video = path.parent / Path(name).name
        stems = [*(folder / name for folder in self._named(LABELS)), next_to_video]
        if file := _first_file(_add_suffix(stem, suffix) for stem in stems for suffix in LABEL_SUFFIXES):
            return read_labels(file, path)
        if self.archive is None or (key := _key(self.archive, "frame_labels_", name)) is None:
            return None
        source = f"{self.archive.path}, {key}"
        return check_label_count(parse_labels(self.archive.read(key), source), path, source)

    def _masks(self, name: str, path: Path) -> MaskSource | None:
        stems = [folder / name for folder in self._named(MASKS)]
        if file := _first_file(_add_suffix(stem, suffix) for stem in stems for suffix in _MASK_SUFFIXES):
            return MaskSource(path=file)
        if folder := next(filter(is_frame_folder, stems), None):
            return MaskSource(path=folder)
        if self.archive is None:
            return None
        if key := _key(self.archive, "mask_", name):
            return MaskSource(path=self.archive.path, key=key)
        if key := _key(self.archive, "mask_", name, "_packed"):
            return MaskSource(path=self.archive.path, key=key, size=_packed_size(self.archive, key, path))
        return None

    def _named(self, name: str) -> list[Path]:
        """Return the folders of this name, in the order of priority."""
        return [inner for folder in self.folders for inner in subfolders(folder) if _is_named(inner, name)]

    def _label_names(self) -> list[str]:
        files = [
            path.name
            for folder in self._named(LABELS)
            for path in sorted(folder.iterdir())
            if path.suffix in LABEL_SUFFIXES
        ]
        stored = self.archive.names if self.archive is not None else ()
        return files + [name for name in stored if name.startswith("frame_labels_")]


def _is_named(folder: Path, name: str) -> bool:
    return folder.name.casefold() in (name, name.removesuffix("s"))


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _add_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)  # with_suffix would truncate `cam1.north`


def _key(archive: Archive, prefix: str, name: str, suffix: str = "") -> str | None:
    """Return the array name of a video; numbers are compared by value: `frame_labels_08` belongs to `8.mp4`."""
    keys = {
        key[len(prefix) : len(key) - len(suffix)]: key
        for key in archive.names
        if key.startswith(prefix) and key.endswith(suffix)
    }
    if name in keys or not name.isdecimal():
        return keys.get(name)
    matches = [key for number, key in keys.items() if number.isdecimal() and int(number) == int(name)]
    return matches[0] if len(matches) == 1 else None


def _unused_arrays(archive: Archive, videos: Collection[str]) -> list[Skipped]:
    used = {_key(archive, prefix, name, suffix) for name in videos for prefix, suffix in _ARRAYS}
    return [
        Skipped(
            archive.path,
            f"{archive.path}, {name}: no test video has this name; rename it or the video",
            "unmatched array",
        )
        for name in archive.names
        if name not in used
    ]


def _packed_size(archive: Archive, key: str, video: Path) -> tuple[int, int]:
    """Return (H, W) of packed masks: from `shape_NAME`, or the width that has the aspect ratio of the video.

    With eight pixels per byte, eight widths are possible. DataError if there is no shape and no width fits.
    """
    stored = archive.shape(key)
    if len(stored) != 3:
        raise DataError(f"{archive.path}, {key}: shape {stored}; expected packed masks (T, H, W / 8)")
    shape_key = f"shape_{key.removeprefix('mask_').removesuffix('_packed')}"
    if shape_key in archive.names:
        sides = archive.read(shape_key).ravel()
        return int(sides[-2]), int(sides[-1])
    height, width = frame_size(video)
    for long, short in ((width, height), (height, width)):  # upright, or rotated by 90 degrees
        mask_width = round(stored[1] * long / short)
        if -(-mask_width // 8) == stored[2]:
            return stored[1], mask_width
    sizes = f"{stored[1]}x{8 * stored[2] - 7} to {stored[1]}x{8 * stored[2]}"
    raise DataError(
        f"{archive.path}, {key}: packed masks of {sizes} pixels; expected the aspect ratio of {video} "
        f"({height}x{width}); add their shape (T, H, W) as {shape_key}"
    )
