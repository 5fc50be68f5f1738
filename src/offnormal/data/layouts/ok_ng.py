"""Folders OK and NG, and optionally MASK: no split into training and test images."""

from __future__ import annotations

import logging
from pathlib import Path

from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.folder_words import meaning_of
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import labeled_items, subfolders
from offnormal.data.mask_names import meanings_of_folder
from offnormal.errors import DataError, name_some
from offnormal.sources.paths import images_in

log = logging.getLogger(__name__)

_READ = ("normal", "anomalous", "mask")


class OkNgLayout(SingleCategoryLayout):
    """`OK`, `NG`, and optionally `MASK`: the OK images are for training, the NG images for testing.

    Recognized by these names in any case (also NOK and KO). If the layout is named, the folders may have any names that
    say normal, anomalous, and masks. Images in folders whose names say none of these are skipped.
    """

    tree = "ROOT/OK/*.png  ROOT/NG/*.png  [ROOT/MASK/*.png, named after the NG images]"
    source = "your own images"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether OK and NG exist, and no folder that says train or test."""
        names = {folder.name.casefold() for folder in subfolders(root)}
        return "ok" in names and bool(names & {"ng", "nok", "ko"}) and not _has_split(root)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if there are no normal or no anomalous folders."""
        reject_category(category, "ok_ng")
        meanings = {folder: meanings_of_folder(folder) for folder in subfolders(root)}
        words = {meaning for says in meanings.values() for meaning in says}
        if not words >= {"normal", "anomalous"} or _has_split(root):
            raise DataError(f"{root}: not the ok_ng layout; expected {OkNgLayout.tree}")
        other = [folder for folder, says in meanings.items() if not {*says} & {*_READ} and images_in(folder)]
        if other:
            names = name_some(folder.name for folder in other)
            log.warning("%s: not used, because the name says neither normal nor anomalous: %s", root, names)
        items = labeled_items(root, None, root, without=other)
        warn_no_split(root)
        return Dataset(
            name=root.resolve().name,
            layout="ok_ng",
            root=root,
            train=tuple(item for item in items if not item.label),
            test=tuple(item for item in items if item.label),
            skipped=tuple(
                Skipped(path, f"{path}: the name of its folder says neither normal nor anomalous", "unlabeled image")
                for folder in other
                for path in images_in(folder)
            ),
        )


def _has_split(root: Path) -> bool:
    splits = {"train", "test", "validation"}
    return any(meaning_of(folder.name, whole=True) in splits for folder in subfolders(root))


def warn_no_split(root: Path) -> None:
    """Warn that a dataset without a split has no normal test images."""
    log.warning(
        "%s: no split, so every normal image is used for training and the test images are all anomalous; to measure "
        "false alarms, keep some normal images apart: --normal DIR --test DIR, or a manifest with the column split",
        root,
    )
