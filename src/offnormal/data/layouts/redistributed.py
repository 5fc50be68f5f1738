"""The form in which frames of UCSD, Avenue and ShanghaiTech go round: `training/frames/01/000.jpg` and one label file.

Source: the published code of Liu et al., Future Frame Prediction for Anomaly Detection, CVPR 2018 (`NAME.mat`), and
of Park et al., Learning Memory-guided Normality for Anomaly Detection, CVPR 2020 (`data/frame_labels_NAME.npy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offnormal.data.array_files import read_npy
from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import as_labels, from_spans, mat_spans, split_labels
from offnormal.data.layouts.categories import one_category, sets_in
from offnormal.data.layouts.clips import clip_folders, has_clips, video_items
from offnormal.errors import DataError
from offnormal.sources.video_index import count_frames
from offnormal.types import Item

_PREFIX = "frame_labels_"
_ALSO = {"shanghaitech": "shanghai", "shanghai": "shanghaitech"}


class RedistributedLayout:
    """`training/frames/VV`, `testing/frames/VV`, and `frame_labels_NAME.npy` or `NAME.mat`; one dataset or several.

    The label file lies in the dataset, where it may have any name, or by the dataset's name in the folder that
    holds it, the one above, or `data` in any of these. A .npy, which needs no convention, goes before a .mat.
    """

    tree = "training/frames/01/000.jpg  testing/frames/01/000.jpg  [frame_labels_NAME.npy | NAME.mat with `gt`]"
    source = "sets prepared for the published code of future frame prediction (CVPR 2018) or MNAD (CVPR 2020)"
    license = "that of the set it was made from"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether folders of frames lie in `training/frames` or `testing/frames`, also one folder down."""
        return _is_set(root) or bool(RedistributedLayout.categories(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the datasets in the folder; empty when it is one itself."""
        return sets_in(root, _is_set)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset of one category; DataError when the tree or the label file is not as expected."""
        folder, category = one_category(root, category, RedistributedLayout.categories(root))
        if not _is_set(folder):
            raise DataError(f"{folder}: expected the tree {RedistributedLayout.tree}")
        clips = clip_folders(folder / "testing" / "frames")
        file = _label_file(folder) if clips else None
        labels = [None] * len(clips) if file is None else _labels(file, [count_frames(clip) for clip in clips])
        return Dataset(
            name=category or folder.resolve().name,
            layout="redistributed",
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "training" / "frames")),
            test=tuple(
                Item(address=str(clip), is_video=True, name=clip.name, frame_labels=own)
                for clip, own in zip(clips, labels, strict=True)
            ),
        )


def _is_set(folder: Path) -> bool:
    return has_clips(folder / "training" / "frames") or has_clips(folder / "testing" / "frames")


def _label_file(folder: Path) -> Path | None:
    folder = folder.resolve()
    names = {folder.name.casefold(), _ALSO.get(folder.name.casefold(), "")}
    for place in (folder, folder / "data"):
        for found in _candidates(place):
            named = [path for path in found if _speaks_of(path) in names] or found
            if len(named) > 1:
                files = ", ".join(path.name for path in named)
                raise DataError(f"{place}: {files}; expected one label file, or one called like {folder.name}")
            if named:
                return named[0]
    for above in folder.parents[:2]:
        for place in (above, above / "data"):
            for found in _candidates(place):
                if named := [path for path in found if _speaks_of(path) in names]:
                    return named[0]
    return None


def _candidates(place: Path) -> tuple[list[Path], list[Path]]:
    """Label files in a folder, the .npy ones and the .mat ones."""
    return sorted(place.glob("frame_labels*.npy")), sorted(place.glob("*.mat"))


def _speaks_of(path: Path) -> str:
    return path.stem.casefold().removeprefix(_PREFIX)


def _labels(file: Path, counts: list[int]) -> list[np.ndarray]:
    if file.suffix == ".npy":
        return split_labels(as_labels(read_npy(file), str(file)), counts, str(file))
    spans = mat_spans(file, len(counts))
    return [from_spans(own, n, f"{file}, video {i}") for i, (own, n) in enumerate(zip(spans, counts, strict=True), 1)]
