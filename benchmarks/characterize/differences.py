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
_DEFAULT = re.compile(r"\[default: (?!False|\[\])([^\]]*)\]")
_EXACT = " / tensors"  # names and shapes in order, of a network
_SAME, _REWORDED = "=", "~"
_MAX_CHARACTERS = 160  # characters of a value
# how long things took, and sizes of files that hold how long; they differ between two records of one version
_LOOSE_KEYS = {
    "took_s", "seconds_waiting_for_data", "samples_per_s", "seconds_per_clip", "seconds_per_frame", "seconds_per_image",
    "bundle_bytes", "waiting_share", "seconds_per_unit",
}  # fmt: skip
_ITEMS = ("item", "video", "path", "image_path", "video_path")  # of rows: a name or a path, compared without folders
_LOOSE_TEXT = (
    (re.compile(r"[\d.]+ m?s a (\w+, decoding included)( \([\d.,]+ \w+ per second\))?"), r"# s a \1"),
    (re.compile(r"^(\s*ms per \w+|\s*bundle, MB).*"), r"\1"),
    (re.compile(r"^0 [\d.]+ (false alarms per 100)"), r"\1"),  # the end of an axis
)
_LOOSE_NEXT = ("training waiting share",)  # of the lines of a page: the value is the next one
_LOOSE_TABLE = re.compile(r"\| (ms per \w+ \||bundle, MB)")  # rows after it: a name, a time, sizes


def compare(old: Path, new: Path, *, only: Sequence[str]) -> int:
    """Print every difference; 1 when there is one."""
    total = 0
    for name in only:
        same = reworded = intended = 0
        paths = [folder / f"{name}.json" for folder in (old, new)]
        absent = [path for path in paths if not path.is_file()]
        if len(absent) == 2:
            continue
        if absent:
            print(f"{name}: no {absent[0]}")
            total += 1
            continue
        before, after = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        lines = []
        for line in differences(name, _renamed(_settled(before)), _settled(after), renames.TOLERANCE.get(name, 1e-6)):
            same += line == _SAME
            reworded += line == _REWORDED
            is_intended = line[:1] in "!+-" and _is_intended(line)
            intended += is_intended
            lines += [] if is_intended or line in (_SAME, _REWORDED) else [line]
        for line in lines:
            print(line)
        counts = f"{same} values equal, {reworded} texts with other words, {intended} intended differences"
        print(f"{name}: {counts}, {len(lines)} differences")
        total += len(lines)
    return int(total > 0)


def differences(path: str, a: Any, b: Any, tolerance: float) -> Iterator[str]:
    """A line for each pair of values: its difference, or _SAME, or _REWORDED for words alone."""
    if isinstance(a, dict) and isinstance(b, dict):
        yield from _in_mappings(path, a, b, tolerance)
    elif _is_prose(a) and _is_prose(b) and not path.endswith(_EXACT):
        yield from _in_prose(path, a, b)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield f"! {path}: {len(a)} values, now {len(b)}"
        for i, (value, new_value) in enumerate(zip(a, b, strict=False)):
            yield from differences(f"{path} [{i}]", value, new_value, tolerance)
        yield from (f"- {path} [...]: {_short(value)}" for value in a[len(b) :])
        yield from (f"+ {path} [...]: {_short(value)}" for value in b[len(a) :])
    elif _same(a, b, tolerance):
        yield _SAME
    else:
        yield f"! {path}:\n    {_short(a)}\n    {_short(b)}"


def _in_mappings(path: str, a: dict[str, Any], b: dict[str, Any], tolerance: float) -> Iterator[str]:
    for key in sorted(a.keys() | b.keys()):
        if key not in b:
            yield f"- {path} / {key}: {_short(a[key])}"
        elif key not in a:
            yield from [] if renames.is_added(key) else [f"+ {path} / {key}: {_short(b[key])}"]
        elif a[key] is not None or key not in renames.FILLED:
            yield from differences(f"{path} / {key}", a[key], b[key], tolerance)


def _is_prose(value: Any) -> bool:
    """Whether a value is for people: a sentence, or lines of output."""
    lines = value if isinstance(value, list) else [value]
    return all(isinstance(line, str) for line in lines) and any(" " in line for line in lines)


def _in_prose(path: str, a: Any, b: Any) -> Iterator[str]:
    """Texts may change their words and say more; what they said in numbers, and defaults, must still be there."""
    texts = ["\n".join(value) if isinstance(value, list) else value for value in (a, b)]
    if texts[0] == texts[1]:
        yield _SAME
        return
    for pattern in (_NUMBER, _DEFAULT):
        before, after = ({_digits(match) for match in pattern.findall(text)} for text in texts)
        if gone := sorted(before - after):
            yield f"! {path}: without {', '.join(gone)}\n    {_short(a)}\n    {_short(b)}"
            return
    yield _REWORDED


def _digits(number: str) -> str:
    """A number as it is written, so that 1.0000 is not 1, but any zero is 0, and a full stop does not count."""
    return (number.strip("0").removesuffix(".") and number.lstrip("0").removesuffix(".")) or "0"


def _is_intended(line: str) -> bool:
    path = re.sub(r"\[(\d+|\.\.\.)\]", "[]", line[2:].partition(":")[0])
    return any(pattern.fullmatch(path) for pattern, _ in renames.INTENDED)


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
    if key == "keys":
        return {f".{name}": True for name in value}
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
        return {_key(name): _renamed(inner, name) for name, inner in shaped.items()}
    if isinstance(value, list):
        return [_renamed(inner, key) for inner in value]
    if isinstance(value, str):
        for pattern, instead in (*renames.TEXT, *renames.IN_KEYS):
            value = pattern.sub(instead, value)
    return renames.CELLS.get((key, value), value) if isinstance(value, str | int | float | bool) else value


def _key(name: str) -> str:
    for pattern, instead in renames.IN_KEYS:
        name = pattern.sub(instead, name)
    parts = name.split(".") if name.startswith(".") else [name]
    return ".".join(renames.KEYS.get(part, part) for part in parts)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}... ({len(text)} characters)"
