"""The files of the demo dataset: their plan, and how they are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from offnormal.demo.damage import DEFECTS
from offnormal.demo.render import render
from offnormal.errors import DataError, UsageError
from offnormal.files import hidden_sibling, sweep

_RECIPE_FILE = "demo.json"
_DRAWING_VERSION = 1  # increased when the same seed would give other images
_MIN_SIZE = 64  # pixels; the finest defects vanish below
_HUFFMAN_ONLY = 2  # zlib's strategy for noisy data: a third faster, 1 % larger
_FIRST_SEVERITY = 0.90  # makes the defect in the first image, which people open, obvious
_SEVERITY_EXPONENT = 1.5  # above 1: subtle defects are more frequent than obvious ones, as on a real line
_GOLDEN = 0.6180339887498949  # multiples modulo 1 are evenly spread for any count

_README = """Synthetic inspection images of a turned steel flange, made by `offnormal demo`.

The images are computer-generated from the random seed {seed}; the same seed and version generate
them again, and no such part exists. They demonstrate the program; results on them say nothing
about real parts.

train/good            {train} training images of normal parts
test/good             {test_good} normal parts
test/<defect>         {per_defect} images each of {defects}
ground_truth/<defect> a mask for each image, 255 where the defect changed the part, else 0
"""
_README_EXTRA = "extra/good            {extra_good} more normal parts\n"


@dataclass(frozen=True)
class Recipe:
    """All inputs of the dataset: equal recipes give equal files."""

    train: int
    test_good: int
    per_defect: int
    extra_good: int
    size: int
    seed: int
    drawing: int = _DRAWING_VERSION


@dataclass(frozen=True)
class Entry:
    """One image: its path and its mask's path relative to the root, and the arguments of `render`."""

    image: str
    mask: str | None
    seed: tuple[int, ...]
    defect: str | None
    severity: float


def generate(
    root: Path,
    *,
    train: int = 120,
    test_good: int = 40,
    per_defect: int = 12,
    extra_good: int = 0,
    size: int = 320,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write an inspection dataset of synthetic images to `root`, in the layout of MVTec AD.

    `root` then contains train/good, test/good, test/<defect>, and ground_truth/<defect> with these numbers of RGB PNG
    images, `size` pixels square, and extra/good if `extra_good` is above 0. Every image depends only on `seed`, its
    folder, and its number. `progress(done, total)` is called after each.

    The dataset is written next to `root` and then renamed, so `root` is complete or absent. If `root` already contains
    the same dataset, nothing is done. Raises UsageError for invalid numbers, and DataError if `root` contains anything
    else or cannot be written.
    """
    recipe = Recipe(train, test_good, per_defect, extra_good, size, seed)
    _check(recipe)
    root = root.resolve()
    entries = list(plan(recipe))
    if _is_complete(root, recipe, entries):
        return
    partial = hidden_sibling(root, "partial")
    sweep(root.parent)
    try:
        partial.mkdir(parents=True)
        _write(partial, recipe, entries, progress)
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    except OSError as error:
        raise DataError(f"{root}: the demo dataset could not be written ({error}); choose a writable folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def plan(recipe: Recipe) -> Iterator[Entry]:
    """Yield every image of the dataset in the order of its folders."""
    sound = (("train", recipe.train), ("test", recipe.test_good), ("extra", recipe.extra_good))
    for branch, (split, count) in enumerate(sound):
        for number in range(count):
            yield Entry(f"{split}/good/{number:03d}.png", None, (recipe.seed, branch, number), None, 0.0)
    for branch, defect in enumerate(DEFECTS, start=len(sound)):
        for number in range(recipe.per_defect):
            image, mask = f"test/{defect}/{number:03d}.png", f"ground_truth/{defect}/{number:03d}_mask.png"
            severity = ((_FIRST_SEVERITY + number * _GOLDEN) % 1.0) ** _SEVERITY_EXPONENT
            yield Entry(image, mask, (recipe.seed, branch, number), defect, severity)


def _check(recipe: Recipe) -> None:
    for name, value in asdict(recipe).items():
        if value < 0:
            raise UsageError(f"{name} is {value}; expected 0 or more")
    if recipe.size < _MIN_SIZE:
        raise UsageError(f"size is {recipe.size} pixels; expected {_MIN_SIZE} or more")


def _is_complete(root: Path, recipe: Recipe, entries: list[Entry]) -> bool:
    """Whether `root` is already this dataset; False if it is absent or empty, DataError for anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"{root}: is a file; expected a new or empty folder")
    if not any(root.iterdir()):
        return False
    advice = "choose another folder or delete this one"
    try:
        stored_recipe = json.loads((root / _RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{root}: not empty and not a demo dataset; {advice}") from None
    expected_recipe = asdict(recipe)
    if stored_recipe != expected_recipe:
        raise DataError(f"{root}: another demo dataset, {stored_recipe}; expected {expected_recipe}; {advice}")
    paths = [path for entry in entries for path in (entry.image, entry.mask) if path is not None]
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        count = "1 file" if len(missing) == 1 else f"{len(missing)} files"
        raise DataError(f"{root}: {count} of the demo dataset missing, first {missing[0]}; {advice}")
    return True


def _write(root: Path, recipe: Recipe, entries: list[Entry], progress: Callable[[int, int], None] | None) -> None:
    for done, entry in enumerate(entries, start=1):
        image, mask = render(recipe.size, entry.seed, entry.defect, entry.severity)
        _save(Image.fromarray(image), root / entry.image)
        if entry.mask is not None:
            _save(Image.fromarray(mask.astype("uint8") * 255), root / entry.mask)
        if progress is not None:
            progress(done, len(entries))
    about = asdict(recipe) | {"defects": ", ".join(DEFECTS)}
    text = _README + _README_EXTRA if recipe.extra_good else _README
    (root / "README.txt").write_text(text.format_map(about), encoding="utf-8")
    (root / _RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=1, compress_type=_HUFFMAN_ONLY)
