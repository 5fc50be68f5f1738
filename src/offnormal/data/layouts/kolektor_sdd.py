"""KolektorSDD: eight images of each commutator, with a label image beside each."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import masked_items, subfolders
from offnormal.data.mask_names import masks_beside
from offnormal.errors import DataError
from offnormal.sources.paths import images_in
from offnormal.types import Item

_FOLDER = re.compile(r"kos\d+", re.IGNORECASE)
_LABEL = "_label"
_THIRD = 3  # there is no published split for learning from normal images: every third commutator is for testing


class KolektorSddLayout(SingleCategoryLayout):
    """`kos01/Part0.jpg` with `kos01/Part0_label.bmp`; an image is anomalous if its label image marks a pixel.

    The normal images of every third commutator and all anomalous images are for testing.
    """

    tree = "ROOT/kosNN/PartN.jpg  ROOT/kosNN/PartN_label.bmp"
    source = "KolektorSDD, https://www.vicos.si/resources/kolektorsdd"
    license = "CC BY-NC-SA 4.0"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether a folder such as kos01 contains label images."""
        return any(masks_beside(images_in(folder, recursive=False), _LABEL) for folder in _commutators(root))

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, another tree, and an image without a label image."""
        reject_category(category, "kolektor_sdd")
        if not KolektorSddLayout.recognizes(root):
            raise DataError(f"{root}: not the kolektor_sdd layout; expected {KolektorSddLayout.tree}")
        train: list[Item] = []
        test: list[Item] = []
        for number, folder in enumerate(_commutators(root), 1):
            for item in masked_items(folder, root, _LABEL):
                split = test if item.label or number % _THIRD == 0 else train
                split.append(replace(item, group=folder.name))
        return Dataset(name=root.resolve().name, layout="kolektor_sdd", root=root, train=tuple(train), test=tuple(test))


def _commutators(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root) if _FOLDER.fullmatch(folder.name)]
