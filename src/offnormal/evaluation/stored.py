"""Reading of a stored evaluation: metrics.json, scores.csv, and the configuration of its bundle.

Files may have been edited or truncated; errors name the file and the line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from offnormal.errors import DataError, UsageError
from offnormal.evaluation.scores_csv import read_table
from offnormal.evaluation.table import ScoreTable
from offnormal.input_files import load_json, load_yaml, read_text
from offnormal.run import read_config
from offnormal.types import Unit

_CONFIG, _CARD = "config.yaml", "card.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredEvaluation:
    """One evaluation: its scores and its detector."""

    path: Path
    data: str  # name of the dataset
    fingerprint: str  # of the test items
    table: ScoreTable
    metrics: dict[str, float]  # as in metrics.json
    threshold: float | None  # None: not calibrated
    low_threshold: float | None  # of its alarms; None: not calibrated or no videos
    median_score: float | None  # of the calibration scores
    rate: str | None  # the expected false-alarm rate
    assumed_fps: float | None  # of footage without a clock
    seconds_per_unit: float | None  # scoring time, including decoding
    bundle: str | None  # hash of the bundle
    detector: str | None  # None: no configuration and no bundle
    options: dict[str, str]  # options of detector and input, flat
    bundle_bytes: int | None
    reused: tuple[str, ...] = ()  # names of test items that the bundle used before, and that have scores


def read_evaluation(path: Path) -> StoredEvaluation:
    """Read the evaluation in a run folder.

    Raises UsageError for a folder without an evaluation, DataError with file and line for damaged files.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; expected a run folder of offnormal evaluate")
    for name in ("metrics.json", "scores.csv"):
        if not (path / name).is_file():
            raise UsageError(f"{path}: no {name}; {_advice(path, name)}")
    file = path / "metrics.json"
    values = _read_json(file)
    if isinstance(categories := values.get("categories"), Mapping):
        names = ", ".join(map(str, categories))
        raise UsageError(f"{path}: run over several categories ({names}); expected one category: compare their folders")
    data = values.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("fingerprint"), str):
        raise DataError(f"{file}: no data.fingerprint; run offnormal evaluate again")
    try:
        unit = Unit(values.get("unit"))
    except ValueError:
        units = ", ".join(unit.value for unit in Unit)
        unit_text = values.get("unit")
        raise DataError(f"{file}: unit {unit_text!r}; expected {units}: run offnormal evaluate again") from None
    calibration, alarms = (
        part if isinstance(part := values.get(name), dict) else {} for name in ("calibration", "alarms")
    )
    bundle = text if isinstance(text := values.get("bundle"), str) else None
    folder = _bundle_folder(path, bundle)
    detector, options = _read_detector(path, folder)
    files = [] if folder is None else [file for file in folder.iterdir() if file.is_file()]
    metrics = values.get("metrics")
    table = _with_restarts(read_table(path / "scores.csv", unit), data.get("restarts"))
    expected = data.get("rows")
    if isinstance(expected, int) and expected != len(table):
        raise DataError(
            f"{path / 'scores.csv'}: {len(table)} rows; expected {expected} as in metrics.json: run offnormal "
            "evaluate again"
        )
    return StoredEvaluation(
        path=path,
        data=str(data.get("name", path.name)),
        fingerprint=data["fingerprint"],
        table=table,
        metrics={
            name: number
            for name, value in (metrics.items() if isinstance(metrics, dict) else ())
            if (number := _number(value)) is not None
        },
        threshold=_number(calibration.get("threshold")),
        low_threshold=_number(alarms.get("low_threshold")),
        median_score=_number(calibration.get("median_score")),
        rate=_format_rate(calibration.get("rate")),
        assumed_fps=_number(data.get("assumed_fps")),
        seconds_per_unit=_number(values.get("seconds_per_unit")),
        bundle=bundle,
        detector=detector,
        options=options,
        bundle_bytes=None if folder is None else sum(file.stat().st_size for file in files),
        reused=_reused_items(values.get("known")),
    )


def _reused_items(values: object) -> tuple[str, ...]:
    items = values.get("items") if isinstance(values, dict) and not values.get("excluded") else None
    return tuple(name for name in items if isinstance(name, str)) if isinstance(items, list) else ()


def short_names(paths: list[Path]) -> list[str]:
    """Shortest unique names of folders: the last parts of their paths.

    >>> short_names([Path("a/x"), Path("b/x")]), short_names([Path("a/x"), Path("a/y")])
    (['a/x', 'b/x'], ['x', 'y'])
    """
    full = [path.resolve() for path in paths]
    depths = max((len(path.parts) for path in full), default=1)
    for depth in range(1, depths + 1):
        names = ["/".join(path.parts[-depth:]) for path in full]
        if len(set(names)) == len(names):
            break
    return names


def _advice(path: Path, name: str) -> str:
    if (path / "bundle" / _CARD).is_file() or (path / _CARD).is_file():
        return f"run offnormal evaluate {path} --data DIR first"
    if name == "scores.csv":
        return "run offnormal evaluate again, which writes it"
    return "expected a run with an evaluation: run offnormal evaluate first"


def _read_json(file: Path) -> dict[str, object]:
    try:
        values = load_json(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON ({error.msg}); run offnormal evaluate again") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text; run offnormal evaluate again") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{file}: cannot be read ({reason}); run offnormal evaluate again") from None
    if not isinstance(values, dict):
        raise DataError(f"{file}: not a JSON object; expected one with metrics and data: run offnormal evaluate again")
    return values


def _bundle_folder(path: Path, bundle: str | None) -> Path | None:
    """Find the bundle of a run: in its folder, or by its hash in a sibling folder."""
    for card in (path / "bundle" / _CARD, *sorted(path.resolve().parent.glob(f"*/bundle/{_CARD}"))):
        try:
            values = load_json(read_text(card))
        except (OSError, ValueError):
            continue
        if isinstance(values, dict) and bundle is not None and values.get("bundle") == bundle:
            return card.parent
    return None


def _read_detector(path: Path, bundle: Path | None) -> tuple[str | None, dict[str, str]]:
    """Read name and options of the detector from the bundle, or from the configuration of the run."""
    for file in (None if bundle is None else bundle / _CONFIG, path / _CONFIG):
        if file is None or not file.is_file():
            continue
        try:
            values = read_config(file) if file.parent == path else load_yaml(read_text(file))
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: not YAML ({error}); correct or remove it") from None
        detector = values.get("detector") if isinstance(values, dict) else None
        if isinstance(detector, Mapping) and isinstance(detector.get("name"), str):
            options = {key: value for key, value in detector.items() if key != "name"}
            inputs = {"input": values["input"]} if isinstance(values.get("input"), Mapping) else {}
            return detector["name"], _flatten({**options, **inputs})
    return None, {}


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat


def _format_rate(values: object) -> str | None:
    if not isinstance(values, Mapping) or (value := _number(values.get("value"))) is None:
        return None
    per = values.get("per", "image")
    return f"{100 * value:.3g} % of {per}s" if per in ("image", "frame", "clip") else f"{value:g} per {per}"


def _with_restarts(table: ScoreTable, restarts: object) -> ScoreTable:
    """Add the frames with a clock restart, which are not visible in the times."""
    if not isinstance(restarts, dict):
        return table
    frames = {
        name: tuple(frame for frame in values if isinstance(frame, int))
        for name, values in restarts.items()
        if isinstance(values, list)
    }
    return replace(table, items=tuple(replace(item, restarts=frames.get(item.name, ())) for item in table.items))


def _number(value: object) -> float | None:
    """Return a finite number; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
