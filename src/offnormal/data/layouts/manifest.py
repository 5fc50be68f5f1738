"""A table of images or videos with labels, masks, groups, and splits: for data in any folders."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meaning_of
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.mask_names import marks_anything
from offnormal.errors import DataError, counted
from offnormal.sources.paths import is_frame_folder, is_image, is_video
from offnormal.types import ANOMALOUS, NORMAL, Item, MaskSource

Split = Literal["train", "calibration", "test"]

_COLUMNS = ("address", "label", "mask", "group", "split")
_FILES = ("manifest.csv", "manifest.parquet")
_LABELS = {"0": NORMAL, "0.0": NORMAL, "false": NORMAL, "1": ANOMALOUS, "1.0": ANOMALOUS, "true": ANOMALOUS}
_SPLITS: dict[str | None, Split] = {"train": "train", "validation": "calibration", "test": "test"}
_EXPECTED = f"a header with {', '.join(_COLUMNS)}; only address is required"


class ManifestLayout(SingleCategoryLayout):
    """`manifest.csv` or `manifest.parquet` in a folder, or any such file: one row per image or video.

    address: path, relative to the manifest. label: normal or anomalous, or another word or number for it. mask: path.
    group: lot or session. split: train, test, or calibration; without it, normal rows are for training and anomalous
    rows for testing. A row without a label needs a split: of train it is normal, of test its mask decides, if it has
    one.
    """

    tree = "manifest.csv or manifest.parquet with the columns address,label,mask,group,split; or --data FILE.csv"
    source = "your own images or videos, in any folders"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder contains `manifest.csv` or `manifest.parquet`."""
        return _find_file(root) is not None

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, without a manifest, and for a row that is not as expected."""
        reject_category(category, "manifest")
        if (file := _find_file(root)) is None:
            raise DataError(f"{root}: not the manifest layout; expected {ManifestLayout.tree}")
        return read_manifest(file)


def is_manifest(path: Path) -> bool:
    """Whether a path is a file that can be a manifest."""
    return path.is_file() and path.suffix.lower() in (".csv", ".parquet")


def read_manifest(file: Path) -> Dataset:
    """Return the dataset of a manifest; DataError names the row that is not as expected."""
    rows = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
    splits: dict[Split, list[Item]] = {"train": [], "calibration": [], "test": []}
    lines: dict[Path, int] = {}
    for line, row in rows:
        try:
            item, split = _item(row, file.parent)
        except DataError as error:
            raise DataError(f"{file}, row {line}: {error}") from None
        if (first := lines.setdefault(item.path.resolve(), line)) != line:
            raise DataError(f"{file}, row {line}: {row['address']} is also in row {first}; expected each file once")
        splits[split].append(item)
    if not lines:
        raise DataError(f"{file}: no rows; expected one per image or video")
    name = file.parent.resolve().name if file.name in _FILES else file.stem
    return Dataset(
        name=name,
        layout="manifest",
        root=file.parent,
        train=tuple(splits["train"]),
        calibration=tuple(splits["calibration"]),
        test=tuple(splits["test"]),
    )


def _find_file(root: Path) -> Path | None:
    file = next((root / name for name in _FILES if (root / name).is_file()), None)
    if file is None or file.suffix == ".parquet":
        return file
    with file.open(encoding="utf-8-sig", errors="replace") as opened:  # other programs write manifests, too
        return file if "address" in opened.readline(1000).casefold() else None


def _item(row: dict[str, str], folder: Path) -> tuple[Item, Split]:
    path = _existing(row["address"], folder, "address")
    mask = _existing(row["mask"], folder, "mask") if row.get("mask") else None
    is_footage = is_video(path) or is_frame_folder(path)
    if not is_footage and not is_image(path):
        raise DataError(f"address {row['address']}: expected an image, a video, or a folder of frames")
    label, split = _label(row.get("label", "")), _split(row.get("split", ""))
    if label is None and mask is not None and not is_footage:
        label = ANOMALOUS if marks_anything(mask) else NORMAL
    if label is None and split is None:
        raise DataError("no label and no split; expected the label normal or anomalous, or a split")
    if label == ANOMALOUS and split in ("train", "calibration"):
        raise DataError(f"anomalous, but in {split}; expected only normal rows there: change its split to test")
    split = split or ("test" if label == ANOMALOUS else "train")
    item = Item(
        address=str(path),
        name="/".join(part for part in Path(row["address"].replace("\\", "/")).parts if part not in ("..", "/")),
        is_video=is_footage,
        label=NORMAL if label is None and split != "test" and not is_footage else label,
        class_name={NORMAL: "good", ANOMALOUS: "anomalous"}.get(label) if label is not None else None,
        masks=MaskSource(path=mask) if mask is not None and label != NORMAL else None,
        group=row.get("group") or None,
    )
    return item, split


def _existing(name: str, folder: Path, column: str) -> Path:
    for path in (folder / name, folder / name.replace("\\", "/")):
        if name and os.path.exists(path):  # noqa: PTH110 - False for a name that no file can have
            return path
    raise DataError(f"{column} {name!r}: no such file; expected a path relative to {folder}")


def _split(text: str) -> Split | None:
    split = "calibration" if text.casefold() == "calibration" else _SPLITS.get(meaning_of(text, whole=True))
    if text and split is None:
        raise DataError(f"split {text!r}: expected train, test, or calibration")
    return split


def _label(text: str) -> int | None:
    if not text:
        return None
    if (label := _LABELS.get(text.casefold())) is not None:
        return label
    meaning = meaning_of(text, whole=True)
    if meaning not in ("normal", "anomalous"):
        raise DataError(f"label {text!r}: expected normal or anomalous (or 0 or 1); leave it empty if it is unknown")
    return NORMAL if meaning == "normal" else ANOMALOUS


def _read_csv(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the first line of each row and its values; cells are separated by commas, semicolons, or tabs."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error}); save it as UTF-8") from None
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header.count), strict=True)
    start = 1
    try:
        names = [name.strip().casefold() for name in next(reader, [])]
        _check_header(file, names)
        start = reader.line_num + 1
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if any(extra := values[len(names) :]):
                raise DataError(
                    f"{file}, row {start}: {len(values)} cells, the last {extra[-1]!r}, under "
                    f'{counted(len(names), "column")}; expected no more; quote a cell that contains a separator: "a,b"'
                )
            if any(values):
                yield start, dict(zip(names, values, strict=False))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{file}, row {start}: {error}; expected cells separated by commas, and quotes in pairs"
        ) from None


def _read_parquet(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file}: needs pyarrow; pip install 'offnormal[parquet]', or save it as CSV") from None
    try:
        table = pyarrow.parquet.read_table(file)
        columns, rows = table.column_names, table.to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as parquet ({error}); save it again") from None
    names = [name.strip().casefold() for name in columns]
    _check_header(file, names)
    for number, values in enumerate(rows, 1):
        cells = ("" if value is None else str(value).strip() for value in values.values())
        yield number, dict(zip(names, cells, strict=True))


def _check_header(file: Path, names: list[str]) -> None:
    if "address" not in names:
        raise DataError(f"{file}: columns {', '.join(names) or 'none'}; expected {_EXPECTED}")
    if len(set(names)) < len(names):
        raise DataError(f"{file}: a column occurs twice; expected {_EXPECTED}")
    if extra := [name for name in names if name not in _COLUMNS]:
        raise DataError(f"{file}: columns {', '.join(extra)} are unknown; expected {_EXPECTED}; remove them")
