"""Real-IAD: splits, labels, and masks of each category in a JSON file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import select_category
from offnormal.data.layouts.labeled import image_item, subfolders
from offnormal.errors import DataError, counted
from offnormal.types import Item

log = logging.getLogger(__name__)

_JSONS = "realiad_jsons"  # the folder of the standard split; others, such as realiad_jsons_sv, when it is missing
_PART = re.compile(r"S\d+")  # the folder of the views of a part
_EXPECTED = 'a "meta" with "prefix" and "normal_class", and "train" and "test" lists'


class _Meta(BaseModel):
    prefix: str = ""
    normal_class: str = "OK"


class _Row(BaseModel):
    image_path: str
    anomaly_class: str
    mask_path: str | None = None


class _Table(BaseModel):
    meta: _Meta = _Meta()
    train: list[_Row]
    test: list[_Row]


@dataclass(frozen=True, slots=True)
class _Category:
    name: str
    file: Path  # its JSON file
    folder: Path  # of its images


class RealIadLayout:
    """`realiad_jsons/CATEGORY.json` and `realiad_1024/CATEGORY/{OK,NG/<defect>}/SNNNN/*.jpg`, or another resolution.

    The five views of a part are one group, so that no part is in training and calibration.
    """

    tree = "realiad_jsons/CATEGORY.json  realiad_1024/CATEGORY/OK/SNNNN/*.jpg  realiad_1024/CATEGORY/NG/..."
    source = "Real-IAD, https://realiad4ad.github.io/Real-IAD"
    license = "CC BY-NC-SA 4.0"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether there is a category: a JSON file and a folder of images of the same name."""
        return next(_find_categories(root), None) is not None

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return the names of the categories; empty if the folder is itself one category."""
        categories = {category.name: category.folder for category in _find_categories(root)}
        return [] if root in categories.values() else sorted(categories)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree or the JSON file is not as expected."""
        _, name = select_category(root, category, RealIadLayout.categories(root))
        chosen = next((each for each in _find_categories(root) if name in (None, each.name)), None)
        if chosen is None:
            raise DataError(f"{root}: not the real_iad layout; expected {RealIadLayout.tree}")
        table = _read_table(chosen.file)
        train = _items(chosen, table, table.train)
        if marked := sum(bool(item.label) for item in train):
            log.warning("%s: %s in train, which are not used", chosen.file, counted(marked, "anomalous image"))
        return Dataset(
            name=chosen.name,
            layout="real_iad",
            root=chosen.folder,
            category=name,
            train=tuple(item for item in train if not item.label),
            test=tuple(_items(chosen, table, table.test)),
        )


def _find_categories(root: Path) -> Iterator[_Category]:
    """Yield the categories of a dataset, of one of its resolutions, or of a category; the best split and size first."""
    here = root.resolve()
    for jsons in [*_json_folders(here), here, *_json_folders(here.parent), *_json_folders(here.parent.parent)]:
        for file in sorted(jsons.glob("*.json")):
            inside = sorted((f for f in subfolders(root) if f.name.startswith("realiad_")), reverse=True)
            places = [parent / file.stem for parent in (root, *inside)]
            for folder in [*places, *([root] if here.name == file.stem else [])]:
                if any((folder / name).is_dir() for name in ("OK", "NG")):
                    yield _Category(file.stem, file, folder)


def _json_folders(parent: Path) -> list[Path]:
    """Return the folders with JSON files in a folder, the standard split first, also one inside another."""
    folders = [*parent.glob(f"{_JSONS}*"), *parent.glob(f"{_JSONS}*/{_JSONS}*")]
    return sorted(folders, key=lambda folder: (folder.name != _JSONS, str(folder)))


def _read_table(file: Path) -> _Table:
    try:
        return _Table.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{file}: {where} {first['msg']}; expected {_EXPECTED}") from None


def _items(category: _Category, table: _Table, rows: list[_Row]) -> list[Item]:
    """Return the items of a list; DataError for paths that leave the dataset, and for missing files."""
    bases = (category.folder.parent / table.meta.prefix, category.folder)
    items: list[Item] = []
    missing: list[str] = []
    for row in rows:
        paths = [name for name in (row.image_path, row.mask_path) if name]
        if any(Path(name).is_absolute() or ".." in Path(table.meta.prefix, name).parts for name in paths):
            raise DataError(f"{category.file}: path {paths}; expected paths below the folder of the category")
        base = next((base for base in bases if (base / row.image_path).is_file()), category.folder)
        missing += [name for name in paths if not (base / name).is_file()]
        is_normal = row.anomaly_class == table.meta.normal_class
        mask = base / row.mask_path if row.mask_path and not is_normal else None
        item = image_item(base / row.image_path, base, None if is_normal else row.anomaly_class, mask)
        items.append(replace(item, group=item.path.parent.name if _PART.fullmatch(item.path.parent.name) else None))
    if missing:
        raise DataError(
            f"{category.folder}: {counted(len(missing), 'file')} of {category.file.name} missing, such as {missing[0]}"
            "; expected all images and masks of one resolution; download them again"
        )
    return items
