"""offnormal fit: data set -> fitted, calibrated bundle in a run folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import create_model

from offnormal import registry
from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.calibration.promise import normals_needed, order_statistic
from offnormal.config import FitConfig
from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.loader import Loader, read_mask
from offnormal.data.open import only_pictures, open_datasets
from offnormal.data.survey import choose_input, survey
from offnormal.detectors.base import Detector, DetectorOptions, StatisticalDetector
from offnormal.errors import ConfigError, DataError, FitError
from offnormal.run import Run, new_run
from offnormal.scoring import choose_device
from offnormal.training.statistics import LeftOut, learn
from offnormal.types import Rate

Progress = Callable[[str, int, int], None]  # what is done, how many are done, of how many


def fit_config(detector: str) -> type[FitConfig]:
    """The configuration of `fit` with the options of one detector under `detector`."""
    options: type[DetectorOptions] = registry.resolve("detectors", detector).Options
    made: type[FitConfig] = create_model(
        f"Fit{options.__name__.removesuffix('Options')}", __base__=FitConfig, detector=(options, options())
    )
    return made


def fit_run(name: str, config: FitConfig, progress: Progress | None = None) -> list[Run]:
    """Fit one detector, or one per category; each run folder holds the bundle, its log and its configuration.

    Raises DataError, ConfigError, WeightsError, FitError or CalibrationError with what to do; a run that fails
    leaves its log.
    """
    found = open_datasets(
        config.data,
        layout=config.layout,
        category=config.category,
        normal=config.normal,
        test=config.test,
        masks=config.masks,
        group_by=config.group_by,
    )
    datasets = only_pictures(found)
    for dataset in datasets:
        if not dataset.train:
            raise DataError(
                f"{dataset.root}: no normal training pictures; expected some in train/good (or --normal DIR)"
            )
        if config.rate is not None:  # refuse now what cannot be promised after the fit
            rate = Rate.parse(config.rate)
            if rate.per != "image":
                raise ConfigError(f"--rate {config.rate}: for images give a share of them such as 0.01")
            order_statistic(len(dataset.train), rate.value)
    if len(datasets) == 1:
        return [_fit_one(name, config, datasets[0], new_run(config.out, name, datasets[0].name), progress)]
    parent = new_run(config.out, name, config.data.resolve().name if config.data else "all")
    runs = []
    for dataset in datasets:
        folder = parent.path / dataset.name
        folder.mkdir()
        runs.append(_fit_one(name, config, dataset, Run(folder), progress))
    return runs


def _fit_one(name: str, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> Run:
    start = time.perf_counter()
    run.write_config(_effective(name, config))
    run.log(
        "start",
        verb="fit",
        detector=name,
        data=str(dataset.root),
        layout=dataset.layout,
        images=len(dataset.train),
    )
    try:
        detector = build_detector(name, config, dataset)
        total = len(dataset.train)
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            if progress is not None:
                progress(f"fit {name} on {dataset.name}", done, total)

        loader = Loader(
            dataset.train,
            detector.input,
            batch_size=config.batch_size,
            on_bad=config.on_bad,
            workers=config.workers,
            progress=count,
        )
        fitted = _learn(detector, loader, choose_device(config.device, config.threads), _wanted(config.rate))
        log_skipped(run, fitted.skipped)
        bundle = Bundle(detector.cpu(), card=_card(dataset, fitted))
        bundle.calibration = _calibrate(bundle, fitted.left_out, config.rate)
        bundle.save(run.path / "bundle")
    except BaseException as error:
        run.log("failed", error=f"{type(error).__name__}: {error}")
        raise
    run.log(
        "done",
        seconds=round(time.perf_counter() - start, 3),
        seconds_waiting_for_data=round(loader.waited_s, 3),
        skipped=len(fitted.skipped),
        calibration=bundle.calibration.explanation if bundle.calibration else None,
    )
    run.bundle, run.skipped, run.has_test = bundle, list(fitted.skipped), bool(dataset.test)
    return run


def build_detector(name: str, config: FitConfig, dataset: Dataset) -> Detector:
    """The detector with its pretrained weights and the input that suits the training pictures, not yet fitted."""
    made: type[Detector] = registry.resolve("detectors", name)
    options: DetectorOptions = config.detector  # type: ignore[attr-defined]
    found = survey(dataset.train)
    spec = choose_input(
        found,
        size=config.sides or made.default_size,
        multiple=made.input_multiple(options),
        policy=config.resize,
        crop=config.crop,
        interpolation=config.interpolation,
        antialias=config.antialias,
    )
    detector = made(options, spec)
    _try_size(detector)
    detector.load_pretrained()
    if config.ignore_mask is not None:
        same = found.sizes[0] if len(set(found.sizes)) == 1 else None
        detector.ignore(torch.from_numpy(read_mask(config.ignore_mask, spec, expected=same)))
    return detector


def _try_size(detector: Detector) -> None:
    """ConfigError when the detector's networks cannot take its input size, before any data is read."""
    if not isinstance(detector, StatisticalDetector):
        return
    height, width = detector.input.size
    try:
        with torch.no_grad():
            detector.embed(torch.zeros(1, detector.input.channels, height, width))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{detector.name} cannot take an input of {width} x {height} pixels with these options ({error}): give the "
            "size its backbone was made for with --size, or another backbone"
        ) from None


@dataclass(frozen=True, slots=True)
class _Fitted:
    left_out: LeftOut | None
    skipped: Sequence[Skipped]


def _learn(detector: Detector, loader: Loader, device: torch.device, wanted: int) -> _Fitted:
    if not isinstance(detector, StatisticalDetector):
        raise FitError(f"{detector.name}: no fit loop for this kind of detector")
    left_out = learn(detector, loader, device=device, seed=detector.options.seed, wanted=wanted)
    return _Fitted(left_out, loader.skipped)


def _wanted(rate: str | None) -> int:
    return normals_needed(Rate.parse(rate).value) if rate is not None else 0


def _calibrate(bundle: Bundle, left_out: LeftOut | None, rate: str | None) -> Calibration | None:
    wanted = Rate.parse(rate) if rate is not None else None
    if left_out is None:
        if wanted is not None:
            raise FitError("two images give no scores to calibrate with: add normal images, or leave out --rate")
        return None
    return calibrate_scores(
        left_out.score,
        left_out.peak,
        rate=wanted,
        kind=left_out.kind,
        bundle=bundle.hash,
        groups=[sample.group for sample in left_out.samples],
    )


def _effective(name: str, config: FitConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    return {"detector": {"name": name, **values.pop("detector")}, **values}


def _card(dataset: Dataset, fitted: _Fitted) -> dict[str, Any]:
    return {
        "data": {
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            "images": len(dataset.train) - len(fitted.skipped),
            "skipped": len(fitted.skipped),
            "fingerprint": dataset.fingerprint("train"),
            "contents": dataset.contents(),
        },
        "machine": {"system": platform.system(), "processors": os.cpu_count()},
    }


def log_skipped(run: Run, skipped: Sequence[Skipped]) -> None:
    """One line in the log for every file that was left out."""
    for bad in skipped:
        run.log("skipped", path=str(bad.path), reason=bad.reason)
