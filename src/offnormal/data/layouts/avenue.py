"""CUHK Avenue as published: videos as .avi, pixel masks of the test videos in a second archive."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import checked
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.data.layouts.categories import OneDataset, refuse_category
from offnormal.data.layouts.clips import holds, video_items
from offnormal.errors import DataError
from offnormal.sources.paths import videos_in
from offnormal.types import Item, MaskSource

_WHOLE = "Avenue Dataset"
_PARTS = ("training_videos", "testing_videos")
_MASKS = ("ground_truth_demo/testing_label_mask", "testing_label_mask")


class AvenueLayout(OneDataset):
    """`training_videos`, `testing_videos`, and `N_label.mat` masks in `ground_truth_demo` in the folder or beside it.

    A frame is anomalous when its mask marks any pixel. MATLAB's older files and those of 7.3 are both read; reading
    the masks of all 21 test videos takes some seconds.
    """

    tree = (
        "[Avenue Dataset/]training_videos/01.avi  [Avenue Dataset/]testing_videos/01.avi  "
        "[ground_truth_demo/testing_label_mask/1_label.mat]"
    )
    source = "CUHK Avenue, http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/dataset.html"
    license = "for research, not commercial; cite Lu et al., ICCV 2013"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether `training_videos` or `testing_videos` lies in the folder, or in `Avenue Dataset` in it."""
        return holds(_inner(root), *_PARTS)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset; DataError when the tree or a mask file is not as expected, or a category is asked for."""
        refuse_category(category, "avenue")
        folder = _inner(root)
        if not AvenueLayout.recognizes(root):
            raise DataError(f"{root}: expected the tree {AvenueLayout.tree}")
        train, test = (videos_in(path) if (path := folder / name).is_dir() else [] for name in _PARTS)
        return Dataset(
            name=root.resolve().name,
            layout="avenue",
            root=folder,
            train=video_items(train),
            test=_with_masks(test, _masks(folder)),
        )


def _inner(root: Path) -> Path:
    return root / _WHOLE if (root / _WHOLE).is_dir() else root


def _masks(folder: Path) -> Path | None:
    """The folder of mask files: their archive unpacks beside that of the videos."""
    places = (place / name for place in (folder, folder.resolve().parent) for name in _MASKS)
    return next((place for place in places if place.is_dir()), None)


def _with_masks(videos: list[Path], folder: Path | None) -> tuple[Item, ...]:
    files = () if folder is None else folder.glob("*_label.mat")
    known = {_number(path): path for path in files if not path.name.startswith(".")}
    if videos and folder is not None and not any(_number(path) in known for path in videos):
        raise DataError(f"{folder}: no mask file for any of the test videos; expected 1_label.mat for 01.avi, ...")
    return tuple(_labeled(path, known.get(_number(path))) for path in videos)


def _labeled(path: Path, file: Path | None) -> Item:
    if file is None:
        return Item(address=str(path), is_video=True, name=path.stem)
    masks = MaskSource(path=file, key="volLabel")
    with open_masks(masks) as opened:
        labels = checked(frame_labels(opened), path, str(file))
    return Item(address=str(path), is_video=True, name=path.stem, frame_labels=labels, masks=masks)


def _number(path: Path) -> str:
    """`01.avi` and `1_label.mat` speak of the same video: mask files have no leading zeros."""
    return path.stem.removesuffix("_label").lstrip("0")
