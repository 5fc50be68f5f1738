"""What layouts share whose data sets come alone or several in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from offnormal.errors import DataError


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
