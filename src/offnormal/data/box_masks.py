"""Reads boxes of anomalous objects as masks: one line per box, `FRAME TRACK X Y WIDTH HEIGHT`.

FRAME is the file name of a frame, X and Y the center of the box in pixels. Source: the files of the Street Scene
dataset (Ramachandra and Jones, Street Scene: A new dataset and evaluation protocol, WACV 2020).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from offnormal.errors import DataError
from offnormal.sources.paths import images_in

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def read_boxes(path: Path, frames: Path) -> dict[int, list[Box]]:
    """Return frame index -> boxes; DataError with the number of a line that is invalid or names no frame."""
    index = {image.stem: number for number, image in enumerate(images_in(frames, recursive=False))}
    boxes: dict[int, list[Box]] = defaultdict(list)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None
    for number, line in enumerate(lines, 1):
        cells = re.split(r"[,\s]+", line.strip())
        if cells == [""]:
            continue
        try:
            x, y, width, height = (float(cell) for cell in cells[2:6])
        except ValueError:
            width = height = math.nan
        if len(cells) != 6 or not (0 < width < math.inf and 0 < height < math.inf):
            raise DataError(f"{path}, line {number}: {line.strip()!r}; expected FRAME TRACK X Y WIDTH HEIGHT")
        name = Path(cells[0].replace("\\", "/")).stem
        if name not in index:
            raise DataError(f"{path}, line {number}: no frame {cells[0]} in {frames}; check for missing frames")
        boxes[index[name]].append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return boxes


def draw_boxes(boxes: Mapping[int, list[Box]], frame: int, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of a frame; a box marks at least one pixel."""
    mask = np.zeros(size, dtype=bool)
    for left, top, right, bottom in boxes.get(frame, ()):
        row, column = max(0, math.floor(top)), max(0, math.floor(left))
        mask[row : max(row + 1, math.ceil(bottom)), column : max(column + 1, math.ceil(right))] = True
    return mask
