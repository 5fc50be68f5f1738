"""The files of the demonstration set: what there is, how it is written, and when nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from PIL import Image

from offnormal.demo.damage import DEFECTS
from offnormal.demo.render import render
from offnormal.errors import DataError, UsageError

_MARKER = "demo.json"
_DRAWING = 1  # raised whenever the same seed would give other images
_SMALLEST = 64  # pixels; the finest defects vanish below
_HUFFMAN_ONLY = 2  # zlib's strategy for data without repeats, such as a sensor's noise: a third faster, 1 % larger
_FIRST = 0.90  # so that the first image of a kind, which people open, shows it well
_RARITY = 1.5  # above 1, subtle defects are commoner than gross ones, as on a line
_GOLDEN = 0.6180339887498949  # multiples modulo 1 spread evenly, however many are taken

_README = """Synthetic inspection images of a turned steel flange, made by `offnormal demo`.

No camera took these images and no such part exists: they were drawn from the random seed {seed},
and the same seed and version draw them again. They show what the program does; how well it does on
them says nothing about real parts.

train/good            {train} images of sound parts to learn from
test/good             {test_good} sound parts
test/<defect>         {per_defect} images each of {defects}
ground_truth/<defect> a mask for each, 255 where the defect changed the part and 0 elsewhere
"""
_README_EXTRA = "extra/good            {extra_good} more sound parts\n"


@dataclass(frozen=True)
class Recipe:
    """Everything the set depends on: two equal recipes give the same files."""

    train: int
    test_good: int
    per_defect: int
    extra_good: int
    size: int
    seed: int
    drawing: int = _DRAWING


@dataclass(frozen=True)
class Entry:
    """One image: its path, and its mask's, below the root, and what `render` needs to draw it."""

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
    """Write an inspection dataset of synthetic images to `root`, laid out like MVTec AD.

    `root` then holds train/good, test/good, test/<defect> and ground_truth/<defect> with the numbers of RGB PNG
    images asked for, `size` pixels square, and extra/good where `extra_good` is not 0. Every image depends on
    `seed`, its folder and its number alone. `progress(done, total)` is called after each.

    The set is written beside `root` and then renamed, so `root` is whole or absent. Where `root` already holds
    the very set asked for, nothing is done. Raises UsageError for impossible numbers, and DataError where `root`
    holds anything else or cannot be written.
    """
    recipe = Recipe(train, test_good, per_defect, extra_good, size, seed)
    _check(recipe)
    root = root.resolve()
    entries = list(plan(recipe))
    if _holds(root, recipe, entries):
        return
    partial = root.with_name(f".{root.name}.{uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        _write(partial, recipe, entries, progress)
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    except OSError as error:
        raise DataError(
            f"the demonstration set could not be written to {root}: {error}; choose a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def plan(recipe: Recipe) -> Iterator[Entry]:
    """Every image of the set, in the order of its folders."""
    sound = (("train", recipe.train), ("test", recipe.test_good), ("extra", recipe.extra_good))
    for branch, (split, count) in enumerate(sound):
        for number in range(count):
            yield Entry(f"{split}/good/{number:03d}.png", None, (recipe.seed, branch, number), None, 0.0)
    for branch, defect in enumerate(DEFECTS, start=len(sound)):
        for number in range(recipe.per_defect):
            image, mask = f"test/{defect}/{number:03d}.png", f"ground_truth/{defect}/{number:03d}_mask.png"
            severity = ((_FIRST + number * _GOLDEN) % 1.0) ** _RARITY
            yield Entry(image, mask, (recipe.seed, branch, number), defect, severity)


def _check(recipe: Recipe) -> None:
    for name, value in asdict(recipe).items():
        if value < 0:
            raise UsageError(f"{name} is {value}; the demonstration set needs 0 or more")
    if recipe.size < _SMALLEST:
        raise UsageError(f"size is {recipe.size} pixels; the demonstration images need {_SMALLEST} or more")


def _holds(root: Path, recipe: Recipe, entries: list[Entry]) -> bool:
    """Whether `root` is the set asked for already; False where it is absent or empty, DataError otherwise."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"{root} is a file; the demonstration set needs a folder that is new or empty")
    if not any(root.iterdir()):
        return False
    advice = "choose another folder, or delete this one first"
    try:
        found = json.loads((root / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{root} is not empty and holds no demonstration set; {advice}") from None
    wanted = asdict(recipe)
    if found != wanted:
        raise DataError(f"{root} holds another demonstration set, {found} instead of {wanted}; {advice}")
    paths = [path for entry in entries for path in (entry.image, entry.mask) if path is not None]
    lost = [path for path in paths if not (root / path).is_file()]
    if lost:
        raise DataError(f"{root} lost {len(lost)} files of its demonstration set, {lost[0]} first; {advice}")
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
    (root / _MARKER).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, compress_level=1, compress_type=_HUFFMAN_ONLY)
