"""Every difference between two records."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import renames

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")
_MAX_CHARACTERS = 160  # characters of a value
# how long things took, and sizes of files that hold how long; they differ between two records of one version
_LOOSE_KEYS = {
    "took_s", "seconds_waiting_for_data", "samples_per_s", "seconds_per_clip", "seconds_per_frame", "seconds_per_image",
    "bundle_bytes", "waiting_share", "seconds_per_unit",
}  # fmt: skip
_ITEMS = ("item", "video", "path", "image_path", "video_path")  # of rows: a name or a path, compared without folders
_LOOSE_TEXT = (
    (re.compile(r"[\d.]+ m?s a (\w+, decoding included)( \([\d.,]+ \w+ per second\))?"), r"# s a \1"),
    (re.compile(r"^(\s*ms per \w+).*"), r"\1"),
)
_LOOSE_NEXT = ("training waiting share",)  # of the lines of a page: the value is the next one
_LOOSE_TABLE = re.compile(r"\| ms per \w+ \|")  # rows after it: a name, a time, sizes


def compare(old: Path, new: Path, *, only: Sequence[str]) -> int:
    """Print every difference; 1 when there is one."""
    total = 0
    for name in only:
        paths = [folder / f"{name}.json" for folder in (old, new)]
        absent = [path for path in paths if not path.is_file()]
        if len(absent) == 2:
            continue
        if absent:
            print(f"{name}: no {absent[0]}")
            total += 1
            continue
        before, after = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        lines = list(differences(name, _renamed(_settled(before)), _settled(after), renames.TOLERANCE.get(name, 1e-6)))
        for line in lines:
            print(line)
        print(f"{name}: {len(lines)} differences")
        total += len(lines)
    return int(total > 0)


def differences(path: str, a: Any, b: Any, tolerance: float) -> Iterator[str]:
    """A line for each difference of two values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if key not in b:
                yield f"- {path} / {key}: {_short(a[key])}"
            elif key not in a and (key in renames.ADDED or key.startswith("terms.")):
                continue
            elif key not in a:
                yield f"+ {path} / {key}: {_short(b[key])}"
            else:
                yield from differences(f"{path} / {key}", a[key], b[key], tolerance)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield f"! {path}: {len(a)} values, now {len(b)}"
        for i, (value, new_value) in enumerate(zip(a, b, strict=False)):
            yield from differences(f"{path} [{i}]", value, new_value, tolerance)
        for value in a[len(b) :]:
            yield f"- {path} [...]: {_short(value)}"
        for new_value in b[len(a) :]:
            yield f"+ {path} [...]: {_short(new_value)}"
    elif not _same(a, b, tolerance):
        yield f"! {path}:\n    {_short(a)}\n    {_short(b)}"


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12)
    if isinstance(a, str) and isinstance(b, str) and a != b:
        if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
            return False
        pairs = zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True)
        return all(_same(float(x), float(y), tolerance) for x, y in pairs)
    return bool(a == b)


def _settled(value: Any, key: str = "") -> Any:
    """A record without what differs between two of one version."""
    if isinstance(value, dict):
        return {name: _settled(inner, name) for name, inner in value.items() if name not in _LOOSE_KEYS}
    if key in _ITEMS and isinstance(value, str):
        return PurePath(value).stem
    if isinstance(value, str):
        for pattern, instead in _LOOSE_TEXT:
            value = pattern.sub(instead, value)
    if not isinstance(value, list):
        return value
    if key == "classes" and all(isinstance(row, dict) and "class" in row for row in value):
        return {row["class"]: _settled({k: v for k, v in row.items() if k != "class"}) for row in value}
    rows, in_table = [], False
    for i, item in enumerate(value):
        inner = item
        if i and value[i - 1] in _LOOSE_NEXT:
            inner = "#"
        elif isinstance(inner, str) and in_table and inner.startswith("|"):
            inner = inner.split("|")[1].strip()
        else:
            in_table = isinstance(inner, str) and bool(_LOOSE_TABLE.search(inner))
        rows.append(_settled(inner))
    return rows


def _renamed(value: Any, key: str = "") -> Any:
    """The older record with the names of the newer one."""
    if isinstance(value, dict):
        shaped = renames.reshaped(value)
        return {renames.KEYS.get(name, name): _renamed(inner, name) for name, inner in shaped.items()}
    if isinstance(value, list):
        return [_renamed(inner, key) for inner in value]
    if isinstance(value, str):
        for pattern, instead in renames.TEXT:
            value = pattern.sub(instead, value)
    return renames.CELLS.get((key, value), value) if isinstance(value, str | int | float | bool) else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}... ({len(text)} characters)"
