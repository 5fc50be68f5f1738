"""From which score on a camera's events open, where they end, and what that promises."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.data.dataset import content_prefixes
from offnormal.errors import CalibrationError, UsageError
from offnormal.events.budget import AlarmBudget, budget_events
from offnormal.events.rules import low_threshold
from offnormal.events.zones import conditions_hash
from offnormal.files import write_text
from offnormal.metrics.video import FrameScores
from offnormal.sources.footage import expand_videos
from offnormal.types import Item, Rate
from offnormal.watching.seen import View

log = logging.getLogger(__name__)

Measured = tuple[list[FrameScores], list[np.ndarray] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Of one camera."""

    threshold: float  # an event opens above it
    low: float  # and ends at or below it
    calibration: Calibration | None  # that gives tail probabilities and colours; None: there is none
    conditions: str | None  # hash of mask and zones
    promise: str  # what it means, one sentence


def thresholds_of(view: View, out: Path, measure: Callable[[Sequence[Path]], Measured]) -> Thresholds:
    """The thresholds that a camera's configuration asks for.

    By hand; or for so many events in a time, from footage or as found out earlier for the very same bundle, masks,
    zones, rules and footage (OUT/budgets/CAMERA.json), or, for the whole picture, as `offnormal calibrate --rate`
    stored them in the bundle; or else those of the bundle. measure: scores the videos of normal life that are named.
    Raises CalibrationError where nothing promises what is asked for, saying what would.
    """
    config, stored = view.config, view.bundle.calibration
    conditions = conditions_hash(config.zones, () if view.mask is None else asdict(view.mask))
    own = stored if stored is not None and not config.zones and view.mask == view.bundle.input.mask else None
    if config.threshold is not None:
        found = None if own is None else own.with_threshold(config.threshold)
        usual = config.threshold if own is None else float(np.median(own.scores))
        low = low_threshold(config.threshold, usual, config.hysteresis)
        promise = f"threshold {config.threshold:.6g} set by hand: nothing is promised"
        return Thresholds(
            threshold=config.threshold, low=low, calibration=found, conditions=conditions, promise=promise
        )
    if config.rate is not None:
        budget = _budget(view, Rate.parse(config.rate), conditions, out, measure, own)
        if budget is not None:
            return Thresholds(
                threshold=budget.calibration.threshold,
                low=budget.low_threshold,
                calibration=budget.calibration,
                conditions=conditions,
                promise=budget.explanation,
            )
    return _of_bundle(view, own, conditions)


def needs_footage(view: View, out: Path) -> bool:
    """Whether footage must be scored before the thresholds are known."""
    found = _read(budget_path(view, out))
    return bool(view.config.calibrate_on) and (found is None or found[0] != _key(view, footage(view)))


def footage(view: View) -> list[Path]:
    """The videos of normal life that a camera names; UsageError where there is none."""
    found = expand_videos(view.config.calibrate_on)
    if view.config.calibrate_on and not found:
        named = ", ".join(map(str, view.config.calibrate_on))
        raise UsageError(f"camera {view.name}: no video in {named}; expected video files or folders of them")
    return found


def budget_path(view: View, out: Path) -> Path:
    """Where a camera's alarm budget is kept."""
    return out / "budgets" / f"{view.name}.json"


def _of_bundle(view: View, own: Calibration | None, conditions: str | None) -> Thresholds:
    name = view.name
    if own is None and view.bundle.calibration is None:
        raise CalibrationError(
            f"camera {name}: this bundle has no calibration, and so no threshold; ask for a rate with footage of "
            "normal life (--rate 2/day --calibrate-on DIR), calibrate the bundle, or give --threshold"
        )
    if own is None:
        raise CalibrationError(
            f"camera {name}: the bundle's threshold was made for other masks and zones and says nothing of these: ask "
            "for a rate with footage of normal life (--rate 2/day --calibrate-on DIR), or give --threshold"
        )
    low = low_threshold(own.threshold, float(np.median(own.scores)), view.config.hysteresis)
    promise = own.explanation
    if own.rate.is_share:
        promise += "; no number of events is promised: --rate 2/day --calibrate-on DIR does that"
    return Thresholds(threshold=own.threshold, low=low, calibration=own, conditions=conditions, promise=promise)


def _budget(
    view: View,
    rate: Rate,
    conditions: str | None,
    out: Path,
    measure: Callable[[Sequence[Path]], Measured],
    own: Calibration | None,
) -> AlarmBudget | None:
    """The alarm budget; None: the bundle's own calibration promises the rate."""
    path, videos = budget_path(view, out), footage(view)
    key, found = _key(view, videos), _read(path)
    if found is not None and (found[0] == key or (not videos and _less(found[0]) == _less(key))):
        found[1].require(bundle=view.bundle.hash, conditions=conditions, rules=view.rules)
        return found[1]
    if not videos:
        if own is not None and own.rate == rate and not own.by_hand:
            return None
        has = "none" if view.bundle.calibration is None else str(view.bundle.calibration.rate)
        raise CalibrationError(
            f"camera {view.name}: {rate} cannot be promised without footage of this camera's normal life, seen through "
            f"its mask and zones: --calibrate-on DIR (the bundle is calibrated for {has}; offnormal calibrate BUNDLE "
            f"--normals DIR --rate {view.config.rate} would do for the whole picture)"
        )
    _refuse_known(view, videos)
    series, peaks = measure(videos)
    budget = budget_events(
        series,
        peaks,
        rate=rate,
        rules=view.rules,
        kind="held_out",
        bundle=view.bundle.hash,
        camera=view.name,
        conditions=conditions,
        hysteresis=view.config.hysteresis,
    )
    write_text(path, json.dumps({"key": key, "budget": budget.to_json()}) + "\n")
    return budget


def _refuse_known(view: View, videos: Sequence[Path]) -> None:
    """CalibrationError for footage that the detector has learnt from."""
    learnt = set(view.bundle.card.get("data", {}).get("contents", ()))
    known = learnt & set(content_prefixes([Item(address=str(path), is_video=True, name=str(path)) for path in videos]))
    if known:
        raise CalibrationError(
            f"camera {view.name}: {len(known)} of {len(videos)} videos of --calibrate-on are among those that the "
            "detector was fitted on: their scores flatter; name footage that it has not seen"
        )


def _key(view: View, videos: Sequence[Path]) -> dict[str, Any]:
    """All that a budget depends on, as plain values."""
    chosen = view.config
    mask = () if view.mask is None else asdict(view.mask)
    return {
        "bundle": view.bundle.hash,
        "conditions": conditions_hash(chosen.zones, mask),
        "rules": view.rules.model_dump(),
        "rate": str(Rate.parse(chosen.rate or "")),
        "hysteresis": chosen.hysteresis,
        "fps": chosen.fps,
        "health": chosen.health.model_dump(),
        "footage": [[str(path.resolve()), *_state(path)] for path in videos],
    }


def _less(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "footage"}


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read(path: Path) -> tuple[dict[str, Any], AlarmBudget] | None:
    """Key and budget; None where there is none that this version can read, which is then made anew."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values["key"], AlarmBudget.from_json(values["budget"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError, CalibrationError) as error:
        log.warning("%s: cannot be used (%s)", path, error)
        return None
