"""Expands items of files with several pages or frames to one item per page."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources.pages import pages_in
from offnormal.types import Item, MaskSource

log = logging.getLogger(__name__)
_READERS = 8  # threads


def expand_pages(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items, with one item per page or frame, `x.tif[2]`, in place of a file that has several.

    A page has the label, class, and group of its file, and the page of the same position in its mask file. Raises
    DataError for a mask file that has another number of pages. Smaller copies and transparency masks in TIFF files are
    skipped and counted in a warning.
    """
    listed = list(items)
    expanded: list[Item] = []
    skipped: Counter[str] = Counter()
    files = [item.path for item in listed if not item.is_video]
    masks = [item.masks.path for item in listed if not item.is_video and item.masks is not None]
    with ThreadPoolExecutor(_READERS) as pool:
        pages_of = dict(zip((*files, *masks), pool.map(pages_in, (*files, *masks)), strict=True))
    for item in listed:
        if item.is_video:
            expanded.append(item)
            continue
        pages, reasons = pages_of[item.path]
        skipped += reasons
        mask_pages = [] if item.masks is None else pages_of[item.masks.path][0]
        if item.masks is not None and len(mask_pages) != len(pages):
            raise DataError(
                f"{item.masks.path}: {len(mask_pages)} pages, its image {item.path} has {len(pages)}; expected a mask "
                "for each page"
            )
        expanded += _pages(item, pages, mask_pages)
    if skipped:
        reasons_text = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        log.warning("TIFF pages that are not images were skipped: %s", reasons_text)
    return tuple(expanded)


def _pages(item: Item, pages: list[Path], mask_pages: list[Path]) -> list[Item]:
    if pages == [item.path] and (item.masks is None or mask_pages == [item.masks.path]):
        return [item]
    expanded = []
    for number, page in enumerate(pages):
        ending = page.name.removeprefix(item.path.name)
        mask = None if item.masks is None else MaskSource(path=mask_pages[number], key=item.masks.key)
        expanded.append(replace(item, address=str(page), name=item.name + ending, masks=mask))
    return expanded
