"""Checks that every layout must pass, for any tree; a plug-in runs them in one test.

    def test_contract(tmp_path):
        check_layout("mine", write_tree, tmp_path)

Each check reads a small tree of the layout as `--data` does.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from offnormal import registry
from offnormal.data.dataset import Dataset, is_class_layout
from offnormal.data.frame_masks import open_masks
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.errors import DataError, OffnormalError
from offnormal.testing.contract import registered_name, run_checks
from offnormal.testing.scenes import write_parts
from offnormal.types import ANOMALOUS, NORMAL, InputSpec, Item, Resize

_SMALL = InputSpec(size=(16, 16), resize=Resize(policy="stretch"))
_STRAY = (".DS_Store", "._1.png", "Thumbs.db", "notes.txt")  # left by systems and people


@dataclass
class _LayoutCase:
    """A registered layout, a small tree, and the dataset that `--data` reads from it."""

    name: str
    write: Callable[[Path], object]
    folder: Path  # empty; trees are written below it
    choice: dict[str, Any]  # arguments of `open_datasets`, such as category

    def __post_init__(self) -> None:
        self.layout = registry.resolve("layouts", self.name)
        self.root = self.new_tree("first/set")
        self.dataset = self.read(self.root)

    def new_tree(self, name: str) -> Path:
        """Write another tree, equal to the first."""
        root = self.folder / name
        root.mkdir(parents=True)
        self.write(root)
        return root

    def read(self, root: Path) -> Dataset:
        """Read a tree with this layout."""
        return open_datasets(root, layout=self.name, **self.choice)[0]

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Items of all splits."""
        return (*self.dataset.train, *self.dataset.calibration, *self.dataset.test)


def check_layout(layout: str | type, write: Callable[[Path], object], folder: Path, **choice: object) -> None:
    """Check the contract of a registered layout on a small tree; AssertionError names the violation.

    layout: its name or class. write: fills an empty folder with the smallest complete tree of one dataset, with normal
    items and, if the layout has labels, anomalous ones; the same on every call. folder: empty, for trees. choice: other
    arguments of `open_datasets`, such as category or classes. Raises ConfigError for a class that is not registered.
    """
    name = registered_name("layouts", layout)
    run_checks(CHECKS, _LayoutCase(name, write, folder, choice), f"{name} with {choice}")


def _check_description(case: _LayoutCase) -> None:
    """`tree`, `source`, and `license` are one line of text each; `offnormal list layouts` prints them."""
    for attribute in ("tree", "source", "license"):
        text = getattr(case.layout, attribute)
        assert isinstance(text, str) and text.strip() and "\n" not in text, f"{attribute}: {text!r}"


def _check_recognition(case: _LayoutCase) -> None:
    """`--data` without `--layout` recognizes the layout and does not change the tree."""
    before = _files(case.root)
    (dataset, *_) = open_datasets(case.root, **case.choice)
    assert dataset.layout == case.name, f"recognized as {dataset.layout}, expected {case.name}"
    assert _files(case.root) == before, "reading changes the tree"


def _check_other_folders(case: _LayoutCase) -> None:
    """`recognizes` returns a bool, False for folders without data, and raises nothing."""
    empty = case.folder / "empty"
    notes = case.folder / "notes"
    for folder in (empty, notes / "inside"):
        folder.mkdir(parents=True)
    for folder in (notes, notes / "inside"):
        (folder / "notes.txt").write_text("no data")
    part_images = write_parts(case.folder / "parts", train=1, good=1, bad=1)
    for folder in (empty, notes, part_images, case.root):
        assert isinstance(case.layout.recognizes(folder), bool), f"{folder}: expected True or False"
    for folder in (empty, notes):
        assert case.layout.recognizes(folder) is False, f"{folder}: recognized as a dataset, expected False"


def _check_refusals(case: _LayoutCase) -> None:
    """A folder without data and an unknown category raise a DataError that names the folder or category."""
    empty = case.folder / "no data"
    empty.mkdir()
    _assert_refused(lambda: case.read(empty), empty.name)
    _assert_refused(lambda: case.layout.read(empty), empty.name)
    if not is_class_layout(case.layout):
        _assert_refused(lambda: case.layout.read(case.root, "no such category"), "no such category")


def _check_categories(case: _LayoutCase) -> None:
    """`categories` lists each category once, and each can be read; also for a recognized folder of several sets."""
    multiple = case.folder / "several"
    for name in ("a", "b"):
        case.new_tree(f"several/{name}")
    for root in (case.root, multiple):
        names = case.layout.categories(root)
        assert isinstance(names, list) and len(set(names)) == len(names), names
        for name in names if case.layout.recognizes(root) else ():
            dataset = case.layout.read(root, name)
            assert (dataset.category, dataset.layout) == (name, case.name), (dataset.category, dataset.layout)


def _check_items(case: _LayoutCase) -> None:
    """Training items are normal, no file is in two splits, and each name is a relative path with slashes."""
    dataset = case.dataset
    assert dataset.layout == case.name, f"layout={dataset.layout!r}, expected {case.name!r}"
    assert dataset.name and dataset.root.is_dir()
    assert dataset.train, "the training split is empty"
    for item in (*dataset.train, *dataset.calibration):
        assert item.label in (None, NORMAL), f"training item {item.name} has label {item.label}"
        assert item.frame_labels is None or not item.frame_labels.any(), f"{item.name} is for training and anomalous"
    addresses = [item.address for item in case.items]
    assert len(set(addresses)) == len(addresses), "a file occurs twice in the splits"
    for item in case.items:
        assert item.name and not Path(item.name).is_absolute() and "\\" not in item.name, f"name {item.name!r}"


def _check_labels(case: _LayoutCase) -> None:
    """If there are labels, some items are anomalous; frame labels are (T,) uint8 with values 0 and 1."""
    tested = case.dataset.test
    with_labels = [item for item in tested if item.label is not None or item.frame_labels is not None]
    anomalous = [
        item
        for item in with_labels
        if item.label == ANOMALOUS or (item.frame_labels is not None and item.frame_labels.any())
    ]
    assert anomalous or not with_labels, "no anomalous items in the test split: write some, or label them"
    for item in with_labels:
        assert item.label in (None, NORMAL, ANOMALOUS), f"{item.name} has label {item.label}"
        labels = item.frame_labels
        if labels is not None:
            assert labels.dtype == np.uint8 and labels.ndim == 1 and set(labels.tolist()) <= {0, 1}, labels


def _check_loading(case: _LayoutCase) -> None:
    """Every item can be read, has one label and mask per frame, and has masks only if it is anomalous."""
    for item in case.items:
        try:
            batches = list(open_loader([item], _SMALL, batch_size=8, masks=item.masks is not None))
        except OffnormalError as error:
            raise AssertionError(f"{item.name} cannot be read: {error}") from error
        rows = [row for batch in batches for row in batch.samples]
        assert rows, f"{item.name}: no image or frame"
        assert all(np.isfinite(batch.pixels).all() for batch in batches), item.name
        if not item.is_video:
            marked = any(batch.masks is not None and batch.masks.any() for batch in batches)
            assert not marked or item.label == ANOMALOUS, f"{item.name}: a normal image with a mask"
            assert marked or item.masks is None or item.label == NORMAL, f"{item.name}: an empty mask"
            continue
        if item.frame_labels is not None:
            assert len(item.frame_labels) == len(rows), (
                f"{item.name}: {len(item.frame_labels)} labels, {len(rows)} frames"
            )
        if item.masks is not None:
            with open_masks(item.masks) as masks:
                assert len(masks) == len(rows), f"{item.name}: {len(masks)} masks, {len(rows)} frames"


def _check_repeats(case: _LayoutCase) -> None:
    """The same files give the same items in the same order, wherever the root is and however it is passed."""
    copy = case.folder / "copy" / case.root.name
    shutil.copytree(case.root, copy)
    datasets = {"read again": case.read(case.root), "read from a copy": case.read(copy)}
    with contextlib.chdir(case.root.parent):
        datasets["read by a relative path"] = case.read(Path(case.root.name))
        assert datasets["read by a relative path"].fingerprint() == case.dataset.fingerprint()
    for origin, dataset in datasets.items():
        assert dataset.name == case.dataset.name, f"{origin}: {dataset.name}"
        assert _names(dataset) == _names(case.dataset), f"{origin}: {_names(dataset)}"
    assert datasets["read from a copy"].fingerprint() == case.dataset.fingerprint(), "the copy's fingerprint differs"


def _check_stray_files(case: _LayoutCase) -> None:
    """Files left by systems and people, such as .DS_Store and notes.txt, change nothing."""
    root = case.new_tree("stray/set")
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        for name in _STRAY:
            (folder / name).write_text("stray")
    names = _names(case.read(root))
    assert names == _names(case.dataset), f"items with stray files: {names}"


def _names(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [item.name for item in getattr(dataset, split)] for split in ("train", "calibration", "test")}


def _files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def _assert_refused(attempt: Callable[[], object], name: str) -> None:
    try:
        dataset = attempt()
    except DataError as error:
        assert name in str(error), f"the error does not name {name!r}: {error}"
    except OffnormalError as error:
        raise AssertionError(f"{type(error).__name__}, expected a DataError: {error}") from error
    else:
        raise AssertionError(f"returned {dataset}, expected a DataError")


CHECKS: tuple[Callable[[_LayoutCase], None], ...] = (
    _check_description,
    _check_recognition,
    _check_other_folders,
    _check_refusals,
    _check_categories,
    _check_items,
    _check_labels,
    _check_loading,
    _check_repeats,
    _check_stray_files,
)
"""What `check_layout` checks, in this order."""
