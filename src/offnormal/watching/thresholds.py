"""From which score on a camera's events open, where they end, and what that promises."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.config.fields import format_rate
from offnormal.data.dataset import hash_prefixes
from offnormal.data.resolve import resolve_items
from offnormal.errors import CalibrationError, UsageError
from offnormal.events.budget import AlarmBudget, budget_events
from offnormal.events.machine import low_threshold
from offnormal.events.zones import conditions_hash
from offnormal.files import write_text
from offnormal.metrics.video import FrameScores
from offnormal.types import Item, Rate
from offnormal.watching.frames import CameraSetup

log = logging.getLogger(__name__)

Measured = tuple[list[FrameScores], list[np.ndarray] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Of one camera."""

    threshold: float  # an event opens above it
    low: float  # and ends at or below it
    calibration: Calibration | None  # that gives p-values and colors; None: there is none
    conditions: str | None  # hash of mask and zones
    promise: str  # what it means, one sentence


def thresholds_of(setup: CameraSetup, out: Path, measure: Callable[[Sequence[Path]], Measured]) -> Thresholds:
    """The thresholds that a camera's configuration asks for.

    By hand; or for so many events in a time, from footage or as found out earlier for the very same bundle, masks,
    zones, rules and footage (OUT/budgets/CAMERA.json), or, for the whole picture, as `offnormal calibrate --rate`
    stored them in the bundle; or else those of the bundle. measure: scores the videos of normal life that are named.
    Raises CalibrationError where nothing promises what is asked for, saying what would.
    """
    config, stored = setup.config, setup.bundle.calibration
    conditions = conditions_hash(config.zones, () if setup.mask is None else asdict(setup.mask))
    own = stored if stored is not None and not config.zones and setup.mask == setup.bundle.input.mask else None
    if config.threshold is not None:
        found = None if own is None else own.with_threshold(config.threshold)
        usual = config.threshold if own is None else float(np.median(own.scores))
        low = low_threshold(config.threshold, usual, config.rules.hysteresis)
        promise = f"threshold {config.threshold:.6g} set by hand: nothing is promised"
        return Thresholds(
            threshold=config.threshold, low=low, calibration=found, conditions=conditions, promise=promise
        )
    if config.rate is not None:
        budget = _budget(setup, config.rate, conditions, out, measure, own)
        if budget is not None:
            return Thresholds(
                threshold=budget.calibration.threshold,
                low=budget.low_threshold,
                calibration=budget.calibration,
                conditions=conditions,
                promise=budget.explanation,
            )
    return _of_bundle(setup, own, conditions)


def needs_footage(setup: CameraSetup, out: Path) -> bool:
    """Whether footage must be scored before the thresholds are known."""
    found = _read(_budget_path(setup, out))
    return bool(setup.config.calibrate_on) and (found is None or found[0] != _key(setup, footage(setup)))


def footage(setup: CameraSetup) -> list[Path]:
    """The videos of normal life that a camera names; UsageError where there is none."""
    found = [item.path for item in resolve_items(setup.config.calibrate_on, kind="video")]
    if setup.config.calibrate_on and not found:
        named = ", ".join(map(str, setup.config.calibrate_on))
        raise UsageError(f"camera {setup.name}: no video in {named}; expected video files or folders of them")
    return found


def _budget_path(setup: CameraSetup, out: Path) -> Path:
    """Where a camera's alarm budget is kept."""
    return out / "budgets" / f"{setup.name}.json"


def _of_bundle(setup: CameraSetup, own: Calibration | None, conditions: str | None) -> Thresholds:
    name = setup.name
    if own is None and setup.bundle.calibration is None:
        raise CalibrationError(
            f"camera {name}: this bundle has no calibration, and so no threshold; ask for a rate with footage of "
            "normal life (--rate 2/day --calibrate-on DIR), calibrate the bundle, or give --threshold"
        )
    if own is None:
        raise CalibrationError(
            f"camera {name}: the bundle's threshold was made for other masks and zones and says nothing of these: ask "
            "for a rate with footage of normal life (--rate 2/day --calibrate-on DIR), or give --threshold"
        )
    low = low_threshold(own.threshold, float(np.median(own.scores)), setup.config.rules.hysteresis)
    promise = own.explanation
    if own.rate.is_share:
        promise += "; no number of events is promised: --rate 2/day --calibrate-on DIR does that"
    return Thresholds(threshold=own.threshold, low=low, calibration=own, conditions=conditions, promise=promise)


def _budget(
    setup: CameraSetup,
    rate: Rate,
    conditions: str | None,
    out: Path,
    measure: Callable[[Sequence[Path]], Measured],
    own: Calibration | None,
) -> AlarmBudget | None:
    """The alarm budget; None: the bundle's own calibration promises the rate."""
    path, videos = _budget_path(setup, out), footage(setup)
    key, found = _key(setup, videos), _read(path)
    if found is not None and (found[0] == key or (not videos and _less(found[0]) == _less(key))):
        found[1].require(bundle=setup.bundle.hash, conditions=conditions, rules=setup.rules)
        return found[1]
    if not videos:
        if own is not None and own.rate == rate and not own.by_hand:
            return None
        has = "none" if setup.bundle.calibration is None else str(setup.bundle.calibration.rate)
        raise CalibrationError(
            f"camera {setup.name}: {rate} cannot be guaranteed without footage of this camera's normal life, seen "
            f"through its mask and zones: --calibrate-on DIR (the bundle is calibrated for {has}; offnormal calibrate "
            f"BUNDLE --normal DIR --rate {format_rate(rate)} would do for the whole image)"
        )
    _refuse_known(setup, videos)
    series, peaks = measure(videos)
    budget = budget_events(
        series,
        peaks,
        rate=rate,
        rules=setup.rules,
        kind="held_out",
        bundle=setup.bundle.hash,
        camera=setup.name,
        conditions=conditions,
        hysteresis=setup.config.rules.hysteresis,
    )
    write_text(path, json.dumps({"key": key, "budget": budget.to_json()}) + "\n")
    return budget


def _refuse_known(setup: CameraSetup, videos: Sequence[Path]) -> None:
    """CalibrationError for footage that the detector has learned from."""
    learned = set(setup.bundle.card.get("data", {}).get("contents", ()))
    known = learned & set(hash_prefixes([Item(address=str(path), is_video=True, name=str(path)) for path in videos]))
    if known:
        raise CalibrationError(
            f"camera {setup.name}: {len(known)} of {len(videos)} videos of --calibrate-on are among those that the "
            "detector was fitted on: their scores flatter; name footage that it has not seen"
        )


def _key(setup: CameraSetup, videos: Sequence[Path]) -> dict[str, object]:
    """All that a budget depends on, as plain values."""
    chosen = setup.config
    mask = () if setup.mask is None else asdict(setup.mask)
    return {
        "bundle": setup.bundle.hash,
        "conditions": conditions_hash(chosen.zones, mask),
        "rules": setup.rules.model_dump(),
        "rate": str(chosen.rate),
        "hysteresis": chosen.rules.hysteresis,
        "fps": chosen.fps,
        "health": chosen.health.model_dump(),
        "footage": [[str(path.resolve()), *_state(path)] for path in videos],
    }


def _less(key: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in key.items() if name != "footage"}


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read(path: Path) -> tuple[dict[str, object], AlarmBudget] | None:
    """Key and budget; None where there is none that this version can read, which is then made anew."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values["key"], AlarmBudget.from_json(values["budget"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError, CalibrationError) as error:
        log.warning("%s: cannot be used (%s)", path, error)
        return None
