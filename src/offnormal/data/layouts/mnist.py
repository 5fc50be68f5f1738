"""MNIST, Fashion-MNIST, and others in this format: one class is normal, all others are anomalous."""

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

Subset = Literal["train", "t10k"]
_FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw")  # the folder itself, and the folders of torchvision
_FILE = r"(.*[._-])?{subset}-{content}[.-]idx[13]-ubyte(\.gz)?"
_CLASSES = 10
_THIRD = 3  # without a test file, every third normal image is used for testing


class MnistLayout:
    """`train-images-idx3-ubyte.gz` and similar files, also unpacked or with a prefix.

    With both subsets, the normal class of `train` is used for training and all of `t10k` for testing. With one subset,
    two of every three images of the normal class are used for training; the third and all other classes for testing.
    """

    tree = "ROOT/<train|t10k>-<images-idx3|labels-idx1>-ubyte[.gz]; --normal-class 3 chooses the normal class"
    source = "MNIST, http://yann.lecun.com/exdb/mnist; Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist"
    license = "CC BY-SA 3.0 (MNIST), MIT (Fashion-MNIST)"
    categories_are_classes = True

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder contains images of either subset in IDX format."""
        return any(_find_file(root, subset, "images") for subset in ("train", "t10k"))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return the class names: each can be the normal class."""
        return [str(number) for number in range(_CLASSES)]

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset in which one class is normal.

        Raises DataError for no class or an unknown class, for missing files, and if the numbers of images and labels
        differ.
        """
        if category is None:
            raise DataError(f"{root}: no normal class; expected --normal-class 0 to 9 (--category all: each in turn)")
        if category not in MnistLayout.categories(root):
            raise DataError(f"--normal-class {category}: expected a class from 0 to {_CLASSES - 1}")
        subsets = {name: subset for name in ("train", "t10k") if (subset := _read_subset(root, name)) is not None}
        if not subsets:
            raise DataError(f"{root}: not the mnist layout; expected {MnistLayout.tree}")
        if len(subsets) == 2:
            train = subsets["train"].items(np.flatnonzero(subsets["train"].labels == int(category)), int(category))
            test = subsets["t10k"].items(np.arange(len(subsets["t10k"].labels)), int(category))
        else:
            (single,) = subsets.values()
            train, test = _split(root, single, int(category))
        name = f"{root.resolve().name}_{category}"
        return Dataset(name=name, layout="mnist", root=root, category=category, train=train, test=test)


@dataclass(frozen=True, slots=True)
class _Subset:
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


def _split(root: Path, subset: _Subset, normal: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    normals = np.flatnonzero(subset.labels == normal)
    train = np.delete(normals, slice(_THIRD - 1, None, _THIRD))
    test = np.setdiff1d(np.arange(len(subset.labels)), train)
    log.warning(
        "%s: only one file of images, %s; not the published split: %d of %d images of class %d are used for training, "
        "the others and all other classes for testing",
        root,
        subset.file.name,
        len(train),
        len(normals),
        normal,
    )
    return subset.items(train, normal), subset.items(test, normal)


def _read_subset(root: Path, name: str) -> _Subset | None:
    images, labels = _find_file(root, name, "images"), _find_file(root, name, "labels")
    if images is None:
        return None
    if labels is None:
        raise DataError(f"{images}: no label file; expected {name}-labels-idx1-ubyte.gz next to it")
    values, shape = read_idx(labels), idx_shape(images)
    if values.shape != shape[:1]:
        raise DataError(
            f"{labels}: labels of shape {values.shape} for images of shape {shape} in {images.name}; expected one each"
        )
    if len(values) and values.max() >= _CLASSES:
        raise DataError(f"{labels}: label {values.max()}; expected classes from 0 to {_CLASSES - 1}")
    return _Subset(root, images, values)


def _find_file(root: Path, subset: str, content: str) -> Path | None:
    """Return the file, preferably unpacked; DataError if several files match."""
    pattern = re.compile(_FILE.format(subset=subset, content=content), re.IGNORECASE)
    for name in _FOLDERS:
        folder = root / name
        files = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []
        names = {path.name.removesuffix(".gz") for path in files}
        if len(names) > 1:
            raise DataError(f"{folder}: several datasets ({', '.join(sorted(names))}); use one folder per dataset")
        if files:
            return files[0]
    return None
