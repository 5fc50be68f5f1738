"""Refuses a plain folder of normal images or videos that also contains a split, labels, or masks."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from offnormal import registry
from offnormal.data.folder_words import Meaning, meanings_of, split_mask_name
from offnormal.data.mask_names import masks_beside, meanings_of_folder
from offnormal.errors import DataError, counted, name_some
from offnormal.sources.paths import is_image, is_video, natural_key

log = logging.getLogger(__name__)

_LINES = 12  # folders in a message
_GENERAL = ("folder", "videos", "class_folders", "manifest")  # layouts that are no advice for a mixed tree
_NAMES: dict[Meaning, str] = {
    "mask": "masks",
    "anomalous": "anomalous",
    "test": "test",
    "validation": "validation",
    "train": "training",
    "normal": "normal",
}


def check_plain(root: Path, files: Sequence[Path], *, refuse: bool = True) -> None:
    """Raise DataError if folders below the root, or names of files, say that not all files are normal training data.

    files: images, videos, and folders of frames below the root. Folders that say normal are accepted if every file is
    in one. The message shows the tree as it is understood, and the options that read it. refuse: False only logs a
    warning, for a user who has named the layout.
    """
    mixture = describe_mixture(root, files)
    if mixture is None:
        return
    if refuse:
        raise DataError(f"{mixture}\n{_advise(root, files)}")
    log.warning("%s\nall of them are used as normal, because the layout was named", mixture)


def describe_mixture(root: Path, files: Sequence[Path]) -> str | None:
    """Return the message of `check_plain`; None for a plain folder."""
    folders = {file: _folders(file, root) for file in files}
    meanings = _meanings_below(root, set(folders.values()))
    masks = set(masks_beside(file for file in files if is_image(file)).values())
    labels = [set(meanings[folders[file]]) for file in files]
    bad = [file for file in _anomalous_by_name(files) if "normal" not in meanings[folders[file]]]
    if not (masks or bad) and (all(not label for label in labels) or all(label == {"normal"} for label in labels)):
        return None
    counts = Counter(folders[file] for file in files if file not in masks)
    counts_of_masks = Counter(folders[file] for file in files if file in masks)
    names_of_bad: dict[Path, list[str]] = {}
    for file in bad:
        names_of_bad.setdefault(folders[file], []).append(file.name)
    noun = "image" if any(map(is_image, files)) else "video"
    rows = []
    for folder in sorted(meanings, key=natural_key):
        names = ", ".join(dict.fromkeys(_NAMES[meaning] for meaning in meanings[folder]))
        number = counted(counts[folder], "file")
        beside = f" and {counted(counts_of_masks[folder], 'mask')} beside them" if counts_of_masks[folder] else ""
        some = f", some anomalous by name: {name_some(names_of_bad[folder])}" if folder in names_of_bad else ""
        rows.append(f"\n  {folder.as_posix()}: {number}{beside}{f' ({names})' if names else ''}{some}")
    more = f"\n  ... and {len(rows) - _LINES} more folders" if len(rows) > _LINES else ""
    return (
        f"{root}: expected only normal {noun}s, but names in it describe a split, labels, or masks:"
        f"{''.join(rows[:_LINES])}{more}"
    )


def _folders(file: Path, root: Path) -> Path:
    """Return the folders of a file below the root; a folder of frames is one of them."""
    relative = file.relative_to(root)
    return relative if file.is_dir() else relative.parent


def _meanings_below(root: Path, folders: Collection[Path]) -> dict[Path, list[Meaning]]:
    """Return folder below the root -> what its name and those of the folders around it say."""
    parts = {part for folder in folders for part in (folder, *folder.parents) if part.name}
    says = {part: meanings_of_folder(root / part) for part in parts}
    return {
        folder: [meaning for part in (*reversed(folder.parents), folder) for meaning in says.get(part, ())]
        for folder in folders
    }


def _anomalous_by_name(files: Sequence[Path]) -> list[Path]:
    """Return the files, not the folders of frames, whose own names say anomalous."""
    stems = {file: re.sub(r"\d+", "0", file.stem) for file in files if is_image(file) or is_video(file)}
    bad = {stem for stem in set(stems.values()) if "anomalous" in meanings_of(stem)}
    return [file for file, stem in stems.items() if stem in bad]


def _meanings(folder: Path) -> list[Meaning]:
    return [meaning for part in folder.parts for meaning in meanings_of(part)]


def _advise(root: Path, files: Sequence[Path]) -> str:
    """Return the options that read the tree, or how to arrange it."""
    layout = "folder" if any(map(is_image, files)) else "videos"
    return (
        f"{_advise_options(root, files, layout)}. If all of them are normal: "
        f"{shlex.join(['--layout', layout, '--normal', str(root)])}"
    )


def _advise_options(root: Path, files: Sequence[Path], general: str) -> str:
    for name, layout in registry.resolve_all("layouts").items():
        if name not in _GENERAL and registry.recognizes(name, layout, root):
            category = next(iter(layout.categories(root)), None)
            words = ["--data", str(root), "--layout", name, *(["--category", category] if category else [])]
            return f"Read it with: {shlex.join(words)}"
    folders = sorted({_folders(file, root) for file in files}, key=natural_key)
    if not any(map(_meanings, folders)) and (beside := masks_beside(files)):
        suffix = min(map(_suffix, beside.values()))
        return f"Read it with: {shlex.join(['--normal', str(root), '--mask-suffix', suffix])}"
    unwanted: list[Meaning] = ["mask", "anomalous", "test", "validation"]
    normals = _cut(folders, "normal", unwanted, last=True)
    trains = _cut(folders, "train", unwanted)
    inside = [folder for folder in normals if any(folder.is_relative_to(train) for train in trains)]
    normal = next(iter(inside or trains or normals), None)
    if normal is None and general == "videos":
        defect = next(iter(_cut(folders, "anomalous", ["mask", "test", "train"])), None)
        if defect is not None and len(defect.parts) == 1:
            return f"Read its clips with: {shlex.join(['--data', str(root), '--anomalous-class', defect.name])}"
    if normal is None:
        return "Move the normal ones to a folder of their own, and name it with --normal"
    words = ["--normal", str(root / normal)]
    test = _nearest(_cut(folders, "test", ["mask"]), normal)
    is_split = test is not None or trains or len(normal.parts) > 1
    if general == "folder" and not is_split and _cut(folders, "anomalous", ["mask"]):
        words = ["--data", str(root), "--layout", "ok_ng"]
    elif test is not None and not normal.is_relative_to(test):
        words += ["--test", str(root / test)]
        mask_folder = _nearest(_cut(folders, "mask", []), test)
        is_labeled = any(folder.is_relative_to(test) for folder in _cut(folders, "normal", ["mask"]))
        words += ["--masks", str(root / mask_folder)] if mask_folder is not None and is_labeled else []
    return f"Read it with: {shlex.join(words)}"


def _cut(folders: Iterable[Path], wanted: Meaning, unwanted: Collection[Meaning], *, last: bool = False) -> list[Path]:
    """Return folders up to their first (last) part with a meaning, shortest first, without those of other meanings."""
    matches = set()
    for folder in folders:
        parts = [meanings_of(part) for part in folder.parts]
        ends = [i for i, part in enumerate(parts, 1) if wanted in part]
        if ends and not set(_meanings(folder)) & set(unwanted):
            matches.add(Path(*folder.parts[: ends[-1 if last else 0]]))
    return sorted(matches, key=lambda folder: (len(folder.parts), natural_key(folder)))


def _nearest(candidates: Sequence[Path], folder: Path) -> Path | None:
    """Return the candidate that shares the longest path with a folder."""

    def shared(path: Path) -> int:
        pairs = zip(path.parts, folder.parts, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(path.parts), len(folder.parts)))

    return max(candidates, key=shared, default=None)


def _suffix(mask: Path) -> str:
    stem = split_mask_name(mask.stem)
    return mask.stem.removeprefix(stem) if stem else ""
