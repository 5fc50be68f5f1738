"""Labels and masks of your own videos: where they are looked for, and how they are matched by name.

Labels of the video NAME are taken from the first of `labels/NAME.npy|.csv|.txt`, a file of the same name beside the
video, and `frame_labels_NAME` in a `gt.npz`; masks from `masks/NAME.npy|.npz|.mat`, the pictures in `masks/NAME/`,
and `mask_NAME` or `mask_NAME_packed` (numpy.packbits along the last axis) in the `gt.npz`. `labels`, `masks` and
`gt.npz` lie beside the test folder or in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offnormal.data.array_files import Archive
from offnormal.data.frame_labels import LABEL_SUFFIXES, as_labels, checked, read_labels
from offnormal.data.layouts.clips import checked_masks
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder
from offnormal.sources.video_index import frame_size
from offnormal.types import Item, MaskSource

LABELS, MASKS, ARCHIVE = "labels", "masks", "gt.npz"
TRUTH_FOLDERS = (LABELS, MASKS)
_MASK_SUFFIXES = (".npy", ".npz", ".mat")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of the test videos of one place."""

    places: tuple[Path, ...]  # folders that may hold labels, masks and gt.npz
    archive: Archive | None

    @classmethod
    def near(cls, test: Path) -> Truth:
        """What lies in or beside a folder of test videos, or beside a single one."""
        places = (test.parent, test) if test.is_dir() else (test.parent,)
        found = _first(place / ARCHIVE for place in places)
        return cls(places, Archive(found) if found else None)

    def videos(self, named: Mapping[str, Path]) -> tuple[Item, ...]:
        """Test videos with what is known of each; DataError when labels are there and none of them fits any video."""
        videos = tuple(self._video(name, path) for name, path in named.items())
        if videos and all(video.frame_labels is None for video in videos) and (unused := self._label_names()):
            raise DataError(
                f"{self.places[0]}: labels for {', '.join(unused[:4])}, but the test videos are called "
                f"{', '.join(list(named)[:4])}; give both the same names"
            )
        return videos

    def _video(self, name: str, path: Path) -> Item:
        labels, masks = self._labels(name, path), self._masks(name, path)
        if masks is not None:
            checked_masks(masks, path, None if labels is None else len(labels))
        return Item(address=str(path), is_video=True, name=name, frame_labels=labels, masks=masks)

    def _labels(self, name: str, path: Path) -> np.ndarray | None:
        beside = path.parent / Path(name).name
        stems = [*(place / LABELS / name for place in self.places), beside]
        if file := _first(_with(stem, suffix) for stem in stems for suffix in LABEL_SUFFIXES):
            return read_labels(file, path)
        if self.archive is None or (key := _key(self.archive, "frame_labels_", name)) is None:
            return None
        source = f"{self.archive.path}, {key}"
        return checked(as_labels(self.archive.read(key), source), path, source)

    def _masks(self, name: str, path: Path) -> MaskSource | None:
        stems = [place / MASKS / name for place in self.places]
        if file := _first(_with(stem, suffix) for stem in stems for suffix in _MASK_SUFFIXES):
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

    def _label_names(self) -> list[str]:
        folders = [place / LABELS for place in self.places if (place / LABELS).is_dir()]
        files = [path.name for folder in folders for path in sorted(folder.iterdir()) if path.suffix in LABEL_SUFFIXES]
        stored = self.archive.names if self.archive is not None else ()
        return files + [name for name in stored if name.startswith("frame_labels_")]


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)  # with_suffix would cut `cam1.north`


def _key(archive: Archive, prefix: str, name: str, suffix: str = "") -> str | None:
    """The array of a video; of numbers the value counts: `frame_labels_08` is that of `8.mp4`."""
    known = {
        key[len(prefix) : len(key) - len(suffix)]: key
        for key in archive.names
        if key.startswith(prefix) and key.endswith(suffix)
    }
    if name in known or not name.isdecimal():
        return known.get(name)
    same = [key for other, key in known.items() if other.isdecimal() and int(other) == int(name)]
    return same[0] if len(same) == 1 else None


def _packed_size(archive: Archive, key: str, video: Path) -> tuple[int, int]:
    """(H, W) of packed masks: `shape_NAME` says it, or the width that has the video's aspect; DataError if neither.

    Eight pixels a byte leave seven widths possible.
    """
    stored = archive.shape(key)
    if len(stored) != 3:
        raise DataError(f"{archive.path}, {key}: shape {stored}; expected packed masks (T, H, W / 8)")
    said = f"shape_{key.removeprefix('mask_').removesuffix('_packed')}"
    if said in archive.names:
        sides = archive.read(said).ravel()
        return int(sides[-2]), int(sides[-1])
    height, width = frame_size(video)
    for long, short in ((width, height), (height, width)):  # stored upright or lying on its side
        found = round(stored[1] * long / short)
        if -(-found // 8) == stored[2]:
            return stored[1], found
    pixels = f"{stored[1]} x {8 * stored[2] - 7} to {8 * stored[2]} pixels"
    raise DataError(
        f"{archive.path}, {key}: packed masks of {pixels} do not have the aspect of {video} ({height} x {width}); add "
        f"their shape (T, H, W) as {said}"
    )
