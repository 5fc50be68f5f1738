"""Selects one of the categories in a folder; base classes of layouts with a single category and with several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError, counted


def list_categories(root: Path, is_dataset: Callable[[Path], bool]) -> list[str]:
    """Return the names of subfolders that are datasets; empty if the folder itself is one."""
    return [] if is_dataset(root) else [folder.name for folder in subfolders(root) if is_dataset(folder)]


class SingleCategoryLayout:
    """Base class of layouts whose tree is a single category."""

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return an empty list: the tree is one category."""
        return []


class CategoryLayout:
    """Base class of layouts whose tree is one category or a folder of categories."""

    name: ClassVar[str]
    tree: ClassVar[str]

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether the folder is itself one category."""
        raise NotImplementedError

    @classmethod
    def recognizes(cls, root: Path) -> bool:
        """Whether the folder or one of its subfolders is a category."""
        return cls.is_category(root) or bool(cls.categories(root))

    @classmethod
    def categories(cls, root: Path) -> list[str]:
        """Return the names of the category folders; empty if the folder is itself one category."""
        return list_categories(root, cls.is_category)

    @classmethod
    def select(cls, root: Path, category: str | None) -> tuple[Path, str | None]:
        """Return the folder and name of a category as `select_category` does; DataError if it has another layout."""
        folder, category = select_category(root, category, cls.categories(root))
        if not cls.is_category(folder):
            raise DataError(f"{folder}: not the {cls.name} layout; expected {cls.tree}")
        return folder, category


def reject_category(category: str | None, layout: str) -> None:
    """Raise DataError if a category was requested from a layout without categories."""
    if category is not None:
        raise DataError(f"--category {category}: the layout {layout!r} has no categories; omit the option")


def select_category(root: Path, category: str | None, available: Sequence[str]) -> tuple[Path, str | None]:
    """Return the folder and name of a category; root and None if root is itself one (`available` is empty).

    Raises DataError for an unknown category, and for none if there are several.
    """
    if category is not None and category not in available:
        if available or category != root.resolve().name:
            raise DataError(f"{root}: no category {category!r}; available: {', '.join(available) or 'none'}")
        category = None
    if available and category is None:
        raise DataError(
            f"{root}: {counted(len(available), 'category', 'categories')} ({', '.join(available)}); choose one with "
            "--category, or all with --category all"
        )
    return (root / category if category else root), category
