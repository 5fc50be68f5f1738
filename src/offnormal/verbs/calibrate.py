"""offnormal calibrate: a folder of other normals -> a new threshold for a fitted bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.config import CalibrateConfig
from offnormal.data.dataset import Skipped, content_hashes
from offnormal.data.layouts.folder import from_folders
from offnormal.data.loader import Loader
from offnormal.errors import CalibrationError, UsageError
from offnormal.scoring import Scorer, choose_device, map_peaks
from offnormal.types import Rate, Sample


def calibrate_bundle(
    bundle: Bundle, config: CalibrateConfig, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Calibration, list[Skipped]]:
    """Score normals that the detector has not learnt from and put the new calibration into the bundle.

    A bundle that lies on disk gets the new calibration.json at once, in one step; a rate that cannot be promised
    is refused (CalibrationError) and the old calibration stays.
    """
    if config.normals is None:
        raise UsageError("calibrate needs normal pictures that the detector has not learnt from: --normals DIR")
    samples = _normals(config.normals, config.group_by)
    _refuse_known(bundle, samples)
    done = 0

    def count(step: int) -> None:
        nonlocal done
        done += step
        if progress is not None:
            progress("calibrate", done, len(samples))

    loader = Loader(
        samples,
        bundle.detector.input,
        batch_size=config.batch_size,
        on_bad=config.on_bad,
        workers=config.workers,
        progress=count,
    )
    scores: list[np.ndarray] = []
    peaks: list[np.ndarray] = []
    groups: list[str | None] = []
    for scored in Scorer(bundle.detector, choose_device(config.device, config.threads)).over(loader):
        scores.append(scored.scores.score)
        peaks.append(map_peaks(scored.scores))
        groups += [sample.group for sample in scored.samples]
    calibration = calibrate_scores(
        np.concatenate(scores) if scores else np.zeros(0),
        np.concatenate(peaks) if peaks else np.zeros(0),
        rate=Rate.parse(config.rate) if config.rate is not None else None,
        kind="held_out",
        bundle=bundle.hash,
        groups=groups,
    )
    bundle.replace_calibration(calibration)
    return calibration, loader.skipped


def _refuse_known(bundle: Bundle, samples: tuple[Sample, ...]) -> None:
    """CalibrationError when the detector has learnt from some of the pictures: their scores would flatter."""
    learnt = set(bundle.card.get("data", {}).get("contents", ()))
    known = learnt & set(content_hashes(sample.path for sample in samples))
    if known:
        raise CalibrationError(
            f"{len(known)} of {len(samples)} pictures are among those the detector was fitted on: "
            "their scores flatter; give normal pictures that it has not seen"
        )


def _normals(folder: Path, group_by: str | None) -> tuple[Sample, ...]:
    return from_folders(normal=folder).grouped(group_by).train
