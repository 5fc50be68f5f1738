"""What layouts with one folder per defect share: defects -> labelled samples, and finding their masks."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources.paths import natural_key, pictures_in
from offnormal.types import ANOMALOUS, NORMAL, Sample

_MASK_ENDINGS = ("_mask", "", "_gt")  # after the picture's name, in the order tried
NORMAL_NAMES = frozenset({"good", "normal", "ok", "0.normal"})


def subfolders(folder: Path) -> list[Path]:
    """Visible folders inside a folder, naturally sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


def normal_samples(folder: Path) -> tuple[Sample, ...]:
    """Every picture of a folder (recursively) as a normal sample."""
    return tuple(Sample(path=path, label=NORMAL) for path in pictures_in(folder))


def labelled_samples(test: Path, masks: Path | None) -> tuple[Sample, ...]:
    """One folder per defect, the normal ones named good, normal, ok or 0.normal; masks matched by name.

    Raises DataError when the masks of a defect exist for some pictures only, and for pictures beside the folders.
    """
    if loose := pictures_in(test, recursive=False):
        raise DataError(
            f"{loose[0]} lies in {test} itself, where every picture is labelled by its folder: sort it into good/ or "
            "the folder of a defect, or take it away"
        )
    samples: list[Sample] = []
    for folder in subfolders(test):
        normal = folder.name.casefold() in NORMAL_NAMES
        mask_folder = masks / folder.name if masks is not None and not normal else None
        known = _mask_index(mask_folder) if mask_folder is not None and mask_folder.is_dir() else {}
        for path in pictures_in(folder):
            mask = _mask_of(path, folder, mask_folder, known) if known else None
            defect = "good" if normal else folder.name
            samples.append(Sample(path=path, label=NORMAL if normal else ANOMALOUS, defect=defect, mask=mask))
    return tuple(samples)


def _mask_index(folder: Path) -> dict[str, Path]:
    return {_name(path, folder): path for path in pictures_in(folder)}


def _mask_of(path: Path, folder: Path, mask_folder: Path | None, known: dict[str, Path]) -> Path:
    name = _name(path, folder)
    found = next((mask for ending in _MASK_ENDINGS if (mask := known.get(name + ending)) is not None), None)
    if found is None:
        raise DataError(
            f"{path}: no mask {name}_mask.png or {name}.png in {mask_folder}, which has {len(known)} masks for "
            "other pictures; add the mask, or remove the folder to evaluate without pixel metrics"
        )
    return found


def _name(path: Path, folder: Path) -> str:
    """Relative name without suffix, composed: macOS writes `ä` as two characters."""
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
