"""What layouts with one folder per defect share: defects -> labelled samples, and finding their masks."""

from __future__ import annotations

from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources.paths import natural_key, pictures_in
from offnormal.types import ANOMALOUS, NORMAL, Sample

NORMAL_NAMES = frozenset({"good", "normal", "ok", "0.normal"})


def subfolders(folder: Path) -> list[Path]:
    """Visible folders inside a folder, naturally sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


def normal_samples(folder: Path) -> tuple[Sample, ...]:
    """Every picture of a folder (recursively) as a normal sample."""
    return tuple(Sample(path=path, label=NORMAL) for path in pictures_in(folder))


def labelled_samples(test: Path, masks: Path | None) -> tuple[Sample, ...]:
    """One folder per defect, the normal ones named good, normal, ok or 0.normal; masks matched by name.

    Raises DataError when the masks of a defect exist for some pictures only.
    """
    samples: list[Sample] = []
    for folder in subfolders(test):
        normal = folder.name.casefold() in NORMAL_NAMES
        mask_folder = masks / folder.name if masks is not None and not normal else None
        known = _mask_index(mask_folder) if mask_folder is not None and mask_folder.is_dir() else None
        for path in pictures_in(folder):
            mask = None if known is None else _mask_of(path, folder, mask_folder, known)
            defect = "good" if normal else folder.name
            samples.append(Sample(path=path, label=NORMAL if normal else ANOMALOUS, defect=defect, mask=mask))
    return tuple(samples)


def _mask_index(folder: Path) -> dict[str, Path]:
    index = {}
    for path in pictures_in(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        index[name.removesuffix("_mask").removesuffix("_gt")] = path
    return index


def _mask_of(path: Path, folder: Path, mask_folder: Path | None, known: dict[str, Path]) -> Path:
    name = path.relative_to(folder).with_suffix("").as_posix()
    if name not in known:
        raise DataError(
            f"{path}: no mask {name}_mask.png or {name}.png in {mask_folder}, which has {len(known)} masks for "
            "other pictures; add the mask, or remove the folder to evaluate without pixel metrics"
        )
    return known[name]
