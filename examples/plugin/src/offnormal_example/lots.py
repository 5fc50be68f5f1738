"""A layout: a folder for each production lot, with `ok` and `ng` images; the last lot is for testing."""

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.errors import DataError
from offnormal.sources.paths import images_in, natural_key
from offnormal.types import ANOMALOUS, NORMAL, Item


class LotsLayout:
    """`lot-N/ok` and `lot-N/ng`: training uses the normal images of every lot except the last."""

    tree = "lot-1/ok/*.png  lot-1/ng/*.png  lot-2/...; the last lot is for testing"
    source = "an inspection station that stores lot by lot"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether there are folders of lots with an `ok` folder."""
        return bool(_lots(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Always empty: the tree is one dataset."""
        return []

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Read the dataset; DataError for a category, and for fewer than two lots."""
        lots = _lots(root)
        if category is not None:
            raise DataError(f"--category {category}: the layout 'lots' has no categories; omit the option")
        if len(lots) < 2:
            raise DataError(f"{root}: got {len(lots)} of at least 2 lots: {LotsLayout.tree}")
        *training_lots, test_lot = lots
        return Dataset(
            name=root.resolve().name,
            layout="lots",
            root=root,
            train=tuple(item for lot in training_lots for item in _items(root, lot, "ok", NORMAL)),
            test=(*_items(root, test_lot, "ok", NORMAL), *_items(root, test_lot, "ng", ANOMALOUS)),
        )


def _lots(root: Path) -> list[Path]:
    return sorted((lot for lot in root.glob("lot-*") if (lot / "ok").is_dir()), key=natural_key)


def _items(root: Path, lot: Path, folder: str, label: int) -> list[Item]:
    return [
        Item(address=str(path), name=path.relative_to(root).as_posix(), label=label, class_name=folder, group=lot.name)
        for path in images_in(lot / folder)
    ]
