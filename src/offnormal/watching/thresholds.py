"""A camera's thresholds: where its events open and end, and the guarantee for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.config.fields import format_rate
from offnormal.data.resolve import resolve_items
from offnormal.data.reuse import find_reuse
from offnormal.errors import CalibrationError, UsageError, score_text
from offnormal.events.budget import AlarmBudget, budget_incidents
from offnormal.events.footage import SHORT_S
from offnormal.events.machine import low_threshold
from offnormal.events.zones import hash_setup
from offnormal.files import read_state, write_text
from offnormal.metrics.streams import join_series
from offnormal.metrics.video import FrameScores
from offnormal.sources.recorder import find_streams
from offnormal.types import Item, Rate
from offnormal.watching.frames import CameraSetup

log = logging.getLogger(__name__)

FootageScores = tuple[list[FrameScores], list[np.ndarray] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The thresholds of one camera."""

    threshold: float  # an event opens above it
    low: float  # an event ends at or below it
    calibration: Calibration | None  # for p-values and heat maps; None: not calibrated
    setup_hash: str | None  # hash of mask and zones
    guarantee: str  # one sentence


def find_thresholds(
    setup: CameraSetup, out: Path, measure: Callable[[Sequence[Path]], FootageScores], *, stores: bool = True
) -> Thresholds:
    """The thresholds for a camera's configuration.

    With a threshold: the one set by hand. With a rate: from footage, or as stored earlier for the same bundle, masks,
    zones, rules, and footage (OUT/budgets/CAMERA.json), or as `offnormal calibrate --rate` stored them in the bundle.
    Otherwise: those of the bundle. measure: scores the videos of normal footage. stores: False changes no file, which
    may belong to a running watch.
    Raises CalibrationError if nothing guarantees the rate; the message says what would.
    """
    config, stored = setup.config, setup.bundle.calibration
    setup_hash = hash_setup(config.zones, () if setup.mask is None else asdict(setup.mask))
    calibration = stored if stored is not None and not config.zones and setup.mask == setup.bundle.input.mask else None
    if config.threshold is not None:
        by_hand = None if calibration is None else calibration.with_threshold(config.threshold)
        median = config.threshold if calibration is None else float(np.median(calibration.scores))
        low = low_threshold(config.threshold, median, config.rules.hysteresis)
        guarantee = f"threshold {score_text(config.threshold)} set by hand, no guarantee"
        return Thresholds(
            threshold=config.threshold, low=low, calibration=by_hand, setup_hash=setup_hash, guarantee=guarantee
        )
    if config.rate is not None:
        budget = _find_budget(setup, config.rate, setup_hash, out, measure, calibration, stores=stores)
        if budget is not None:
            return Thresholds(
                threshold=budget.calibration.threshold,
                low=budget.low_threshold,
                calibration=budget.calibration,
                setup_hash=setup_hash,
                guarantee=budget.explanation,
            )
    return _bundle_thresholds(setup, calibration, setup_hash)


def needs_footage(setup: CameraSetup, out: Path) -> bool:
    """Whether footage must be scored to find the thresholds."""
    stored = _read_budget(_budget_path(setup, out), repairs=False)
    return bool(setup.config.calibrate_on) and (
        stored is None or stored[0] != _budget_key(setup, resolve_footage(setup))
    )


def resolve_footage(setup: CameraSetup) -> list[Path]:
    """The videos of a camera's `calibrate_on`; UsageError if it has none."""
    videos = [item.path for item in resolve_items(setup.config.calibrate_on, kind="video")]
    if setup.config.calibrate_on and not videos:
        paths = ", ".join(map(str, setup.config.calibrate_on))
        raise UsageError(f"camera {setup.name}: no video in {paths}; expected video files or folders of them")
    return videos


def _budget_path(setup: CameraSetup, out: Path) -> Path:
    """The file of a camera's alarm budget."""
    return out / "budgets" / f"{setup.name}.json"


def _bundle_thresholds(setup: CameraSetup, calibration: Calibration | None, setup_hash: str | None) -> Thresholds:
    name = setup.name
    if calibration is None and setup.bundle.calibration is None:
        raise CalibrationError(
            f"camera {name}: the bundle has no calibration and therefore no threshold; calibrate it, add --rate 2/day "
            "--calibrate-on DIR with normal footage, or set --threshold"
        )
    if calibration is None:
        raise CalibrationError(
            f"camera {name}: the bundle's threshold belongs to other masks and zones; add --rate 2/day --calibrate-on "
            "DIR with normal footage, or set --threshold"
        )
    low = low_threshold(calibration.threshold, float(np.median(calibration.scores)), setup.config.rules.hysteresis)
    guarantee = calibration.explanation
    if calibration.rate.is_share:
        guarantee += "; no guarantee for the number of events: add --rate 2/day --calibrate-on DIR"
    return Thresholds(
        threshold=calibration.threshold, low=low, calibration=calibration, setup_hash=setup_hash, guarantee=guarantee
    )


def _find_budget(
    setup: CameraSetup,
    rate: Rate,
    setup_hash: str | None,
    out: Path,
    measure: Callable[[Sequence[Path]], FootageScores],
    calibration: Calibration | None,
    *,
    stores: bool,
) -> AlarmBudget | None:
    """The alarm budget; None: the bundle's calibration guarantees the rate."""
    path, videos = _budget_path(setup, out), resolve_footage(setup)
    key, stored = _budget_key(setup, videos), _read_budget(path, repairs=stores)
    if stored is not None and (stored[0] == key or (not videos and _is_same_setup(stored[0], key))):
        stored[1].require(bundle=setup.bundle.hash, setup_hash=setup_hash, rules=setup.rules)
        return stored[1]
    if not videos:
        if calibration is not None and calibration.rate == rate and not calibration.by_hand:
            return None
        bundle_calibration = setup.bundle.calibration
        state = "not calibrated" if bundle_calibration is None else f"calibrated for {bundle_calibration.rate}"
        raise CalibrationError(
            f"camera {setup.name}: {rate} cannot be guaranteed without normal footage of this camera: add "
            f"--calibrate-on DIR (the bundle is {state}; without zones, offnormal calibrate BUNDLE --normal DIR --rate "
            f"{format_rate(rate)} also works)"
        )
    _refuse_training_videos(setup, videos)
    series, peaks = measure(videos)
    streams = find_streams(
        [Item(address=str(path), name=str(path), is_video=True) for path in videos],
        [video.clock.seconds for video in series],
        short_s=SHORT_S,
    )
    budget = budget_incidents(
        [join_series(series, stream) for stream in streams],
        None if peaks is None else [np.concatenate([peaks[row] for row in stream.rows]) for stream in streams],
        rate=rate,
        confidence=setup.config.confidence,
        rules=setup.rules,
        kind="held_out",
        bundle=setup.bundle.hash,
        camera=setup.name,
        setup_hash=setup_hash,
        hysteresis=setup.config.rules.hysteresis,
    )
    if stores:
        write_text(path, json.dumps({"key": key, "budget": budget.to_json()}) + "\n")
    return budget


def _refuse_training_videos(setup: CameraSetup, videos: Sequence[Path]) -> None:
    """CalibrationError for footage that the detector was trained on."""
    items = [Item(address=str(path), is_video=True, name=str(path)) for path in videos]
    training_contents = setup.bundle.card.get("data", {}).get("contents", ())
    if overlap := find_reuse(items, training_contents, exclude=False)[1].items:
        raise CalibrationError(
            f"camera {setup.name}: the detector was trained on {len(overlap)} of {len(videos)} videos of "
            "--calibrate-on, so their scores are too low; use other normal footage"
        )


def _budget_key(setup: CameraSetup, videos: Sequence[Path]) -> dict[str, object]:
    """Everything that a budget depends on, as plain values."""
    config = setup.config
    mask = () if setup.mask is None else asdict(setup.mask)
    return {
        "bundle": setup.bundle.hash,
        "setup_hash": hash_setup(config.zones, mask),
        "rules": setup.rules.model_dump(),
        "rate": str(config.rate),
        "confidence": config.confidence,
        "hysteresis": config.rules.hysteresis,
        "fps": config.fps,
        "health": config.health.model_dump(),
        "footage": [[str(path.resolve()), *_file_state(path)] for path in videos],
    }


def _is_same_setup(key: dict[str, object], other_key: dict[str, object]) -> bool:
    return all(key.get(name) == value for name, value in other_key.items() if name != "footage")


def _file_state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read_budget(path: Path, *, repairs: bool) -> tuple[dict[str, object], AlarmBudget] | None:
    """Key and stored budget; None if there is none, or it was damaged and set aside, so that it is created again."""
    lost = "the alarm budget is calibrated again from the footage of --calibrate-on"

    def parse(values: dict[str, Any]) -> tuple[dict[str, object], AlarmBudget]:
        return dict(values["key"]), AlarmBudget.from_json(values["budget"])

    return read_state(path, parse, lost, repairs=repairs)
