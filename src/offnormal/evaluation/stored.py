"""An evaluation read back from its folder: metrics.json, scores.csv, and what the bundle says about itself.

Files may have been edited or cut short since; what does not fit is an error that names the file and the line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from offnormal.errors import DataError, UsageError
from offnormal.evaluation.scores_csv import read_table
from offnormal.evaluation.table import ScoreTable
from offnormal.run import read_config
from offnormal.types import Unit

_CONFIG, _CARD = "config.yaml", "card.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredEvaluation:
    """One evaluation: its scores, and what is known of the detector that gave them."""

    path: Path
    data: str  # name of the dataset
    fingerprint: str  # of the items tested on
    table: ScoreTable
    metrics: dict[str, float]  # as the evaluation wrote them
    threshold: float | None  # calibrated; None: not calibrated
    low_threshold: float | None  # of its alarms; None: not calibrated, or no videos
    median_score: float | None  # of the normals that it is calibrated with
    rate: str | None  # the expected false-alarm rate
    assumed_fps: float | None  # of footage without a clock
    seconds_per_unit: float | None  # scoring, decoding included
    bundle: str | None  # hash of the bundle that scored
    detector: str | None  # None: neither a configuration nor the bundle was found
    options: dict[str, str]  # effective options of detector and input, flat
    bundle_bytes: int | None


def read_evaluation(path: Path) -> StoredEvaluation:
    """Read the evaluation in a run folder.

    Raises UsageError where there is none, DataError naming file and line where its files are damaged.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; expected the folder of a run that offnormal evaluate wrote")
    for name in ("metrics.json", "scores.csv"):
        if not (path / name).is_file():
            raise UsageError(f"{path}: has no {name}; {_advice(path, name)}")
    file = path / "metrics.json"
    values = _read_json(file)
    if isinstance(categories := values.get("categories"), Mapping):
        names = ", ".join(map(str, categories))
        raise UsageError(f"{path}: is a run over several categories ({names}); compare the folder of one of them")
    data = values.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("fingerprint"), str):
        raise DataError(f"{file}: does not name the data it rests on (data.fingerprint); run offnormal evaluate again")
    try:
        unit = Unit(values.get("unit"))
    except ValueError:
        units = ", ".join(unit.value for unit in Unit)
        unit_text = values.get("unit")
        raise DataError(f"{file}: unit {unit_text!r}, expected {units}; run offnormal evaluate again") from None
    calibration, alarms = (
        part if isinstance(part := values.get(name), dict) else {} for name in ("calibration", "alarms")
    )
    bundle = found if isinstance(found := values.get("bundle"), str) else None
    folder = _bundle_folder(path, bundle)
    detector, options = _detector_of(path, folder)
    files = [] if folder is None else [file for file in folder.iterdir() if file.is_file()]
    metrics = values.get("metrics")
    table = _with_restarts(read_table(path / "scores.csv", unit), data.get("restarts"))
    expected = data.get("rows")
    if isinstance(expected, int) and expected != len(table):
        raise DataError(
            f"{path / 'scores.csv'}: has {len(table)} rows, metrics.json names {expected}: it was cut short or "
            "edited; run offnormal evaluate again"
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
        rate=_rate(calibration.get("rate")),
        assumed_fps=_number(data.get("assumed_fps")),
        seconds_per_unit=_number(values.get("seconds_per_unit")),
        bundle=bundle,
        detector=detector,
        options=options,
        bundle_bytes=None if folder is None else sum(file.stat().st_size for file in files),
    )


def short_names(paths: list[Path]) -> list[str]:
    """Folder names, with as many folders above them as tell them apart.

    >>> short_names([Path("a/x"), Path("b/x")]), short_names([Path("a/x"), Path("a/y")])
    (['a/x', 'b/x'], ['x', 'y'])
    """
    full = [path.resolve() for path in paths]
    most = max((len(path.parts) for path in full), default=1)
    for depth in range(1, most + 1):
        names = ["/".join(path.parts[-depth:]) for path in full]
        if len(set(names)) == len(names):
            break
    return names


def _advice(path: Path, name: str) -> str:
    if (path / "bundle" / _CARD).is_file() or (path / _CARD).is_file():
        return f"run offnormal evaluate {path} --data DIR first"
    if name == "scores.csv":
        return "run offnormal evaluate again: it writes one beside metrics.json"
    return "expected the folder of a run with an evaluation: run offnormal evaluate first"


def _read_json(file: Path) -> dict[str, object]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON ({error.msg}); run offnormal evaluate again") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not a text in UTF-8; run offnormal evaluate again") from None
    if not isinstance(values, dict):
        raise DataError(f"{file}: expected an object with metrics and data; run offnormal evaluate again")
    return values


def _bundle_folder(path: Path, bundle: str | None) -> Path | None:
    """The run's own bundle; of a run that only evaluated, the bundle of that hash in a run beside it."""
    for card in (path / "bundle" / _CARD, *sorted(path.resolve().parent.glob(f"*/bundle/{_CARD}"))):
        try:
            found = json.loads(card.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and bundle is not None and found.get("bundle") == bundle:
            return card.parent
    return None


def _detector_of(path: Path, bundle: Path | None) -> tuple[str | None, dict[str, str]]:
    """Name and options of the detector, from its bundle or else from the run's configuration."""
    for file in (None if bundle is None else bundle / _CONFIG, path / _CONFIG):
        if file is None or not file.is_file():
            continue
        try:
            values = read_config(file) if file.parent == path else yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"{file}: cannot be read as YAML ({error}); mend or remove it") from None
        detector = values.get("detector") if isinstance(values, dict) else None
        if isinstance(detector, Mapping) and isinstance(detector.get("name"), str):
            options = {key: value for key, value in detector.items() if key != "name"}
            shown = {"input": values["input"]} if isinstance(values.get("input"), Mapping) else {}
            return detector["name"], _flat({**options, **shown})
    return None, {}


def _flat(values: Mapping[str, object], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        elif value is not None:
            found[f"{before}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found


def _rate(values: object) -> str | None:
    if not isinstance(values, Mapping) or (value := _number(values.get("value"))) is None:
        return None
    per = values.get("per", "image")
    return f"{100 * value:.3g} % of {per}s" if per in ("image", "frame", "clip") else f"{value:g} per {per}"


def _with_restarts(table: ScoreTable, restarts: object) -> ScoreTable:
    """The table with the frames at which a video's clock starts again, which its times do not show."""
    if not isinstance(restarts, dict):
        return table
    frames = {
        name: tuple(frame for frame in values if isinstance(frame, int))
        for name, values in restarts.items()
        if isinstance(values, list)
    }
    return replace(table, items=tuple(replace(item, restarts=frames.get(item.name, ())) for item in table.items))


def _number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
