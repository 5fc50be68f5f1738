"""MNIST, Fashion-MNIST and others in their form: one class is normal, all others are anomalous."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from offnormal.data.dataset import Dataset
from offnormal.errors import DataError
from offnormal.sources.idx import idx_shape, list_images, read_idx
from offnormal.types import ANOMALOUS, NORMAL, Item

log = logging.getLogger(__name__)

Part = Literal["train", "t10k"]
_PLACES = ("", "raw", "MNIST/raw", "FashionMNIST/raw")  # the files themselves, and where torchvision puts them
_FILE = r"(.*[._-])?{part}-{what}[.-]idx[13]-ubyte(\.gz)?"
_CLASSES = 10
_THIRD = 3  # of the normal pictures every third is tested on, where there is no file for it


class MnistLayout:
    """`train-images-idx3-ubyte.gz` and its like, also unpacked or with something before their names.

    With both files, the normal class of `train` is learned from and all of `t10k` is tested on. With one, two of every
    three pictures of the normal class are learned from; the third and all other classes are tested on.
    """

    tree = "ROOT/[train|t10k]-[images-idx3|labels-idx1]-ubyte[.gz]; --normal-class 3 says which class is normal"
    source = "MNIST, http://yann.lecun.com/exdb/mnist; Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist"
    license = "CC BY-SA 3.0 (MNIST), MIT (Fashion-MNIST)"
    by_class = True

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder holds pictures of either part in IDX form."""
        return any(_found(root, part, "images") for part in ("train", "t10k"))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the classes: each can be the normal one."""
        return [str(number) for number in range(_CLASSES)]

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset in which one class is normal.

        Raises DataError when none or an unknown class is named, for files that are missing, and for pictures and labels
        of different number.
        """
        if category is None:
            raise DataError(f"{root}: say which class is normal: --normal-class 0 to 9 (--category all: each in turn)")
        if category not in MnistLayout.categories(root):
            raise DataError(f"--normal-class {category}: expected a class from 0 to {_CLASSES - 1}")
        parts = {part: found for part in ("train", "t10k") if (found := _read(root, part)) is not None}
        if not parts:
            raise DataError(f"{root}: expected the tree {MnistLayout.tree}")
        if len(parts) == 2:
            train = parts["train"].items(np.flatnonzero(parts["train"].labels == int(category)), int(category))
            test = parts["t10k"].items(np.arange(len(parts["t10k"].labels)), int(category))
        else:
            (only,) = parts.values()
            train, test = _split(root, only, int(category))
        name = f"{root.resolve().name}_{category}"
        return Dataset(name=name, layout="mnist", root=root, category=category, train=train, test=test)


@dataclass(frozen=True, slots=True)
class _Part:
    root: Path
    file: Path
    labels: np.ndarray  # (N,) uint8, classes

    def items(self, numbers: Iterable[int], normal: int) -> tuple[Item, ...]:
        paths = list_images(self.file)
        return tuple(
            Item(
                address=str(paths[i]),
                name=paths[i].relative_to(self.root).as_posix(),
                label=NORMAL if self.labels[i] == normal else ANOMALOUS,
                class_name="good" if self.labels[i] == normal else f"class {self.labels[i]}",
            )
            for i in numbers
        )


def _split(root: Path, part: _Part, normal: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    own = np.flatnonzero(part.labels == normal)
    learned = np.delete(own, slice(_THIRD - 1, None, _THIRD))
    tested = np.setdiff1d(np.arange(len(part.labels)), learned)
    log.warning(
        "%s: only %s is there: %d of the %d pictures of class %d are learned from, the others tested on with those of "
        "all other classes; not the published split",
        root,
        part.file.name,
        len(learned),
        len(own),
        normal,
    )
    return part.items(learned, normal), part.items(tested, normal)


def _read(root: Path, part: str) -> _Part | None:
    images, labels = _found(root, part, "images"), _found(root, part, "labels")
    if images is None:
        return None
    if labels is None:
        raise DataError(f"{images}: no labels beside it; expected {part}-labels-idx1-ubyte.gz")
    found, shape = read_idx(labels), idx_shape(images)
    if found.shape != shape[:1]:
        raise DataError(f"{labels}: labels of shape {found.shape} for pictures of shape {shape} in {images.name}")
    if len(found) and found.max() >= _CLASSES:
        raise DataError(f"{labels}: a label of {found.max()}; expected classes from 0 to {_CLASSES - 1}")
    return _Part(root, images, found)


def _found(root: Path, part: str, what: str) -> Path | None:
    """The file, unpacked rather than packed; DataError when there are several that it could be."""
    pattern = re.compile(_FILE.format(part=part, what=what), re.IGNORECASE)
    for place in _PLACES:
        folder = root / place
        files = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []
        names = {path.name.removesuffix(".gz") for path in files}
        if len(names) > 1:
            raise DataError(f"{folder} holds {', '.join(sorted(names))}: keep datasets in folders of their own")
        if files:
            return files[0]
    return None
