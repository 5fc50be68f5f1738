"""Folders OK and NG, and optionally MASK: no split into training and test images."""

from __future__ import annotations

import logging
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meaning_of
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import labeled_items, subfolders
from offnormal.errors import DataError

log = logging.getLogger(__name__)


class OkNgLayout(SingleCategoryLayout):
    """`OK`, `NG`, and optionally `MASK`: the OK images are for training, the NG images for testing.

    Recognized by these names in any case (also NOK and KO). If the layout is named, the folders may have any names that
    say normal, anomalous, and masks.
    """

    tree = "ROOT/OK/*.png  ROOT/NG/*.png  [ROOT/MASK/*.png, named after the NG images]"
    source = "your own images"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether OK and NG exist, and no folder that says train or test."""
        names = {folder.name.casefold() for folder in subfolders(root)}
        splits = {meaning_of(name) for name in names} & {"train", "test", "validation"}
        return "ok" in names and bool(names & {"ng", "nok", "ko"}) and not splits

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if there are no normal or no anomalous folders."""
        reject_category(category, "ok_ng")
        meanings = [meaning_of(folder.name) for folder in subfolders(root)]
        splits = {"train", "test", "validation"}.intersection(filter(None, meanings))
        if "normal" not in meanings or "anomalous" not in meanings or splits:
            raise DataError(f"{root}: not the ok_ng layout; expected {OkNgLayout.tree}")
        items = labeled_items(root, None, root)
        warn_no_split(root)
        return Dataset(
            name=root.resolve().name,
            layout="ok_ng",
            root=root,
            train=tuple(item for item in items if not item.label),
            test=tuple(item for item in items if item.label),
        )


def warn_no_split(root: Path) -> None:
    """Warn that a dataset without a split has no normal test images."""
    log.warning(
        "%s: no split, so every normal image is used for training and the test images are all anomalous; to measure "
        "false alarms, keep some normal images apart: --normal DIR --test DIR, or a manifest with the column split",
        root,
    )
