"""CUHK Avenue as published: .avi videos, and pixel masks of the test videos in a second archive."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import check_label_count
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import has_subfolder, inner_folder, video_items
from offnormal.errors import DataError
from offnormal.sources.paths import videos_in
from offnormal.types import Item, MaskSource

_WHOLE = "Avenue Dataset"
_PARTS = ("training_videos", "testing_videos")
_MASKS = ("ground_truth_demo/testing_label_mask", "testing_label_mask")


class AvenueLayout(SingleCategoryLayout):
    """`training_videos`, `testing_videos`, and `N_label.mat` masks in `ground_truth_demo` in or next to the folder.

    A frame is anomalous if its mask marks any pixel. Reads files of MATLAB 7.3 and of older versions; the masks of all
    21 test videos take some seconds.
    """

    tree = (
        "[Avenue Dataset/]training_videos/01.avi  [Avenue Dataset/]testing_videos/01.avi  "
        "[ground_truth_demo/testing_label_mask/1_label.mat]"
    )
    source = "CUHK Avenue, http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/dataset.html"
    license = "for research, not commercial; cite Lu et al., ICCV 2013"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder, or `Avenue Dataset` in it, contains `training_videos` or `testing_videos`."""
        return has_subfolder(inner_folder(root, _WHOLE), *_PARTS)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or a mask file is not as expected."""
        reject_category(category, "avenue")
        folder = inner_folder(root, _WHOLE)
        if not AvenueLayout.recognizes(root):
            raise DataError(f"{root}: not the avenue layout; expected {AvenueLayout.tree}")
        train, test = (videos_in(path) if (path := folder / name).is_dir() else [] for name in _PARTS)
        return Dataset(
            name=root.resolve().name,
            layout="avenue",
            root=folder,
            train=video_items(train),
            test=_with_masks(test, _masks(folder)),
        )


def _masks(folder: Path) -> Path | None:
    """Return the folder of mask files; its archive unpacks next to the videos."""
    candidates = (parent / name for parent in (folder, folder.resolve().parent) for name in _MASKS)
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def _with_masks(videos: list[Path], folder: Path | None) -> tuple[Item, ...]:
    files = () if folder is None else folder.glob("*_label.mat")
    masks = {_number(path): path for path in files if not path.name.startswith(".")}
    if videos and folder is not None and not any(_number(path) in masks for path in videos):
        raise DataError(f"{folder}: no mask file for any test video; expected 1_label.mat for 01.avi, ...")
    return tuple(_labeled(path, masks.get(_number(path))) for path in videos)


def _labeled(path: Path, file: Path | None) -> Item:
    if file is None:
        return Item(address=str(path), is_video=True, name=path.stem)
    masks = MaskSource(path=file, key="volLabel")
    with open_masks(masks) as opened:
        labels = check_label_count(frame_labels(opened), path, str(file))
    return Item(address=str(path), is_video=True, name=path.stem, frame_labels=labels, masks=masks)


def _number(path: Path) -> str:
    """Return the number of a video without leading zeros, which mask files do not have: `01.avi`, `1_label.mat`."""
    return path.stem.removesuffix("_label").lstrip("0")
