"""Which of several datasets in a folder is meant, and layouts that know one alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError


def sets_in(root: Path, is_set: Callable[[Path], bool]) -> list[str]:
    """Names of the folders in a folder that are a dataset each; empty when the folder is one itself."""
    return [] if is_set(root) else [folder.name for folder in subfolders(root) if is_set(folder)]


class OneDataset:
    """What layouts of a single dataset share."""

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Always empty: the tree holds one category."""
        return []


def refuse_category(category: str | None, layout: str) -> None:
    """DataError for a category of a layout that has none."""
    if category is not None:
        raise DataError(f"--category {category}: the layout {layout!r} has no categories; leave it out")


def one_category(root: Path, category: str | None, known: Sequence[str]) -> tuple[Path, str | None]:
    """The folder of the category asked for, and its name; root and None where root is one itself (known is empty).

    Raises DataError for a category that is not there, and when there are several and none is named.
    """
    if category is not None and category not in known:
        if known or category != root.resolve().name:
            raise DataError(f"{root}: no category {category!r}; there are {', '.join(known) or 'none'}")
        category = None
    if known and category is None:
        raise DataError(
            f"{root} holds {len(known)} categories ({', '.join(known)}): choose one with --category, or all of "
            "them with --category all"
        )
    return (root / category if category else root), category
