"""Redistributed frames of UCSD, Avenue, and ShanghaiTech: `training/frames/01/000.jpg` and one label file.

Source: the published code of Liu et al., Future Frame Prediction for Anomaly Detection, CVPR 2018 (`NAME.mat`), and
of Park et al., Learning Memory-guided Normality for Anomaly Detection, CVPR 2020 (`data/frame_labels_NAME.npy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offnormal.data.array_files import read_npy
from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import labels_from_spans, mat_spans, parse_labels, split_labels
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.clips import clip_folders, has_clips, video_items
from offnormal.errors import DataError
from offnormal.sources.video_index import count_frames
from offnormal.types import Item

_PREFIX = "frame_labels_"
_ALIASES = {"shanghaitech": "shanghai", "shanghai": "shanghaitech"}


class RedistributedLayout(CategoryLayout):
    """`training/frames/VV`, `testing/frames/VV`, and `frame_labels_NAME.npy` or `NAME.mat`; one dataset or several.

    The label file is in the dataset, with any name, or in one of the two folders above it, with the name of the
    dataset; each of these may also have it in `data`. A .npy has priority over a .mat, because it is unambiguous.
    """

    name = "redistributed"
    tree = "training/frames/01/000.jpg  testing/frames/01/000.jpg  [frame_labels_NAME.npy | NAME.mat with `gt`]"
    source = "datasets prepared for the published code of future frame prediction (CVPR 2018) or MNAD (CVPR 2020)"
    license = "the license of the original dataset"

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether `training/frames` or `testing/frames` contains folders of frames."""
        return has_clips(folder / "training" / "frames") or has_clips(folder / "testing" / "frames")

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree or the label file is not as expected."""
        folder, category = cls.select(root, category)
        clips = clip_folders(folder / "testing" / "frames")
        file = _label_file(folder) if clips else None
        labels = [None] * len(clips) if file is None else _labels(file, [count_frames(clip) for clip in clips])
        return Dataset(
            name=category or folder.resolve().name,
            layout=cls.name,
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "training" / "frames")),
            test=tuple(
                Item(address=str(clip), is_video=True, name=clip.name, frame_labels=clip_labels)
                for clip, clip_labels in zip(clips, labels, strict=True)
            ),
        )


def _label_file(folder: Path) -> Path | None:
    folder = folder.resolve()
    names = {folder.name.casefold(), _ALIASES.get(folder.name.casefold(), "")}
    for location in (folder, folder / "data"):
        for candidates in _candidates(location):
            matches = [path for path in candidates if _dataset_name(path) in names] or candidates
            if len(matches) > 1:
                files = ", ".join(path.name for path in matches)
                raise DataError(f"{location}: several label files ({files}); expected one, or one named {folder.name}")
            if matches:
                return matches[0]
    for parent in folder.parents[:2]:
        for location in (parent, parent / "data"):
            for candidates in _candidates(location):
                if matches := [path for path in candidates if _dataset_name(path) in names]:
                    return matches[0]
    return None


def _candidates(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the .npy and the .mat label files in a folder."""
    return sorted(folder.glob("frame_labels*.npy")), sorted(folder.glob("*.mat"))


def _dataset_name(path: Path) -> str:
    return path.stem.casefold().removeprefix(_PREFIX)


def _labels(file: Path, counts: list[int]) -> list[np.ndarray]:
    if file.suffix == ".npy":
        return split_labels(parse_labels(read_npy(file), str(file)), counts, str(file))
    spans = mat_spans(file, len(counts))
    return [
        labels_from_spans(clip_spans, n, f"{file}, video {i}")
        for i, (clip_spans, n) in enumerate(zip(spans, counts, strict=True), 1)
    ]
