"""MPDD, painted metal parts: the tree of MVTec AD with six categories."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.layouts.split_tree import SplitTreeLayout

_CATEGORIES = frozenset({"bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"})


class MpddLayout(SplitTreeLayout):
    """The tree of MVTec AD with the names of the six categories; one category or a folder of them."""

    name = "mpdd"
    tree = (
        "CATEGORY/train/good/*.png  CATEGORY/test/<good|defect>/*.png  [CATEGORY/ground_truth/<defect>/*_mask.png]; "
        f"CATEGORY is one of {', '.join(sorted(_CATEGORIES))}"
    )
    source = "MPDD, https://github.com/stepanje/MPDD"
    license = "CC BY-NC-SA 4.0"
    markers = (("train", "good"), ("test", "good"))

    @classmethod
    def recognizes(cls, root: Path) -> bool:
        """Whether the folder, or all its subfolders with `train/good` or `test/good`, have names of categories."""
        names = {root.resolve().name} if cls.is_category(root) else set(cls.categories(root))
        return bool(names) and {name.casefold() for name in names} <= _CATEGORIES
