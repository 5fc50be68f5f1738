"""KolektorSDD2: training and test images with a ground-truth image beside each."""

from __future__ import annotations

import logging
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import find_folder, masked_items
from offnormal.data.mask_names import masks_beside
from offnormal.errors import DataError, counted
from offnormal.sources.paths import images_in
from offnormal.types import Item

log = logging.getLogger(__name__)

_TRUTH = "_GT"


class KolektorSdd2Layout(SingleCategoryLayout):
    """`train/10000.png` with `train/10000_GT.png`, and `test` alike; marked images of `train` are not used."""

    tree = "ROOT/train/NNNNN.png  ROOT/train/NNNNN_GT.png  ROOT/test/NNNNN.png  ROOT/test/NNNNN_GT.png"
    source = "KolektorSDD2, https://www.vicos.si/resources/kolektorsdd2"
    license = "CC BY-NC-SA 4.0"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether `train` or `test` directly contains images with ground-truth images beside them."""
        return any(
            masks_beside(images_in(folder, recursive=False), _TRUTH)
            for name in ("train", "test")
            if (folder := find_folder(root, name)) is not None
        )

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, another tree, and an image without a ground-truth image."""
        reject_category(category, "kolektor_sdd2")
        if not KolektorSdd2Layout.recognizes(root):
            raise DataError(f"{root}: not the kolektor_sdd2 layout; expected {KolektorSdd2Layout.tree}")
        train = _items(root, "train")
        if marked := sum(bool(item.label) for item in train):
            log.warning("%s: %s with defects in train, which are not used", root, counted(marked, "image"))
        return Dataset(
            name=root.resolve().name,
            layout="kolektor_sdd2",
            root=root,
            train=tuple(item for item in train if not item.label),
            test=_items(root, "test"),
        )


def _items(root: Path, name: str) -> tuple[Item, ...]:
    folder = find_folder(root, name)
    return () if folder is None else masked_items(folder, root, _TRUTH)
