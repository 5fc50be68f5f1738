"""NWPU Campus as published: .avi videos named by camera, and one .npz with the frame labels of the test videos."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from offnormal.data.array_files import Archive
from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meaning_of
from offnormal.data.frame_labels import check_label_count, parse_labels
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import inner_folder, video_items
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import is_frame_folder, videos_below
from offnormal.types import Item

log = logging.getLogger(__name__)
_WHOLE = "NWPUCampusDataset"
_NAME = re.compile(r"D\d+_\d+")


class NwpuCampusLayout(SingleCategoryLayout):
    """`videos/Train`, `videos/Test`, and `groundtruth/NWPU_Campus_gt.npz` or `gt.npz` with an array per test video."""

    tree = "[videos/]train/D001_01.avi  [videos/]test/D001_03.avi  [groundtruth/]gt.npz|NWPU_Campus_gt.npz"
    source = "NWPU Campus, https://campusvad.github.io"
    license = "for academic use, not commercial; cite Cao et al., CVPR 2023"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether a train or test folder contains videos such as D001_01.avi next to an archive of labels."""
        folder = inner_folder(root, _WHOLE)
        named = [path for split in ("train", "test") for path in _videos(folder, split) if _NAME.fullmatch(path.stem)]
        return bool(named) and _label_file(folder) is not None

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or the labels are not as expected."""
        reject_category(category, "nwpu_campus")
        folder = inner_folder(root, _WHOLE)
        file = _label_file(folder)
        train, test = _videos(folder, "train"), _videos(folder, "test")
        if file is None or not (train or test):
            raise DataError(f"{root}: not the nwpu_campus layout; expected {NwpuCampusLayout.tree}")
        archive = Archive(file)
        return Dataset(
            name=root.resolve().name,
            layout="nwpu_campus",
            root=folder,
            train=video_items(train),
            test=_labeled(test, archive),
        )


def _videos(folder: Path, split: str) -> list[Path]:
    parents = [folder, *(child for child in subfolders(folder) if child.name.casefold() == "videos")]
    matches = [
        child for parent in parents for child in subfolders(parent) if meaning_of(child.name, whole=True) == split
    ]
    return [path for match in matches for path in videos_below(match)]


def _label_file(folder: Path) -> Path | None:
    parents = [folder, *(child for child in subfolders(folder) if not is_frame_folder(child))]
    files = (path for parent in parents for path in sorted(parent.glob("*gt.npz")) if not path.name.startswith("."))
    return next(files, None)


def _labeled(videos: list[Path], archive: Archive) -> tuple[Item, ...]:
    names = [path.name if path.is_dir() else path.stem for path in videos]
    if missing := [name for name in names if name not in archive.names]:
        raise DataError(
            f"{archive.path}: no labels for {len(missing)} of {len(names)} test videos, such as {missing[0]}; expected "
            f"an array for each; it contains {', '.join(archive.names[:4])}"
        )
    if unused := [name for name in archive.names if name not in names]:
        log.warning("%s: labels of %d missing videos are skipped, such as %s", archive.path, len(unused), unused[0])
    items = []
    for name, path in zip(names, videos, strict=True):
        source = f"{archive.path}, {name}"
        labels = check_label_count(parse_labels(archive.read(name), source), path, source)
        items.append(Item(address=str(path), is_video=True, name=name, frame_labels=labels))
    return tuple(items)
