"""offnormal fit: dataset -> fitted, calibrated bundle in a run folder."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, create_model

from offnormal import registry
from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.calibration.guarantee import normals_needed, order_statistic
from offnormal.config.fit import EmbeddedTrainConfig, FitConfig, ScheduleName, TrainConfig
from offnormal.config.model import ADVANCED
from offnormal.data.dataset import Dataset
from offnormal.data.images import read_mask
from offnormal.data.survey import choose_input, default_side, survey
from offnormal.detectors.base import (
    Detector,
    DetectorOptions,
    EmbeddedDetector,
    StatisticalDetector,
    TrainedDetector,
)
from offnormal.errors import CalibrationError, ConfigError, DataError, FitError
from offnormal.evaluation.units import TRAITS
from offnormal.redact import redact
from offnormal.run import Run, new_run
from offnormal.scoring import choose_device
from offnormal.sources.privacy import read_privacy_mask
from offnormal.training import checkpoint
from offnormal.training.settings import refuse_contradictions
from offnormal.training.statistics import Fitted, learn
from offnormal.types import InputSpec, Rate
from offnormal.verbs.elsewhere import check_elsewhere, elsewhere
from offnormal.verbs.loading import (
    Progress,
    load_items,
    open_configured,
    split_beside,
    write_split,
)


def fit_config(detector: str) -> type[FitConfig]:
    """The configuration of `fit` with the options of one detector under `detector`, and of training if it needs any."""
    made = registry.resolve("detectors", detector)
    name = f"Fit{made.Options.__name__.removesuffix('Options')}"
    own = made.Options.as_field()
    if not issubclass(made, TrainedDetector):
        return create_model(name, __base__=FitConfig, detector=own)
    base = EmbeddedTrainConfig if issubclass(made, EmbeddedDetector) else TrainConfig
    batch = Field(default=made.default_batch_size, ge=1, description="Samples per training step, over all devices.")
    known = TrainConfig.model_fields["schedule"].description
    schedule = Field(default=made.default_schedule, description=known)
    return create_model(
        name,
        __base__=base,
        detector=own,
        batch_size=(int, batch),
        schedule=(Annotated[ScheduleName, ADVANCED], schedule),
    )


def resumed_config(resume: str | Path | None) -> Path | None:
    """The configuration of a run that is to be gone on with, which what is given now comes on top of."""
    return None if resume is None else Path(resume) / "config.yaml"


def fit_run(name: str, config: FitConfig, progress: Progress | None = None) -> list[Run]:
    """Fit one detector, or one per category; each run folder holds the bundle, its log and its configuration.

    Raises DataError, ConfigError, WeightsError, FitError or CalibrationError with what to do; a run that fails
    leaves its log.
    """
    device = choose_device(config.device, config.threads)
    if isinstance(config, TrainConfig):
        refuse_contradictions(config, device)
    check_elsewhere(config)
    resumed = config.resume if isinstance(config, TrainConfig) else None
    datasets = open_configured(config, None if resumed is None else split_beside(resumed))
    for dataset in datasets:
        _refuse_hopeless(config, dataset)
    if isinstance(config, TrainConfig) and config.resume is not None:
        if len(datasets) > 1:
            raise ConfigError(f"--resume {config.resume} with --category all: resume the run of one category")
        checkpoint.load(config.resume)
        return [_fit_one(name, config, datasets[0], Run(config.resume), progress)]
    if len(datasets) == 1:
        return [_fit_one(name, config, datasets[0], new_run(config.out, name, datasets[0].name), progress)]
    parent = new_run(config.out, name, config.data.resolve().name if config.data else "all")
    runs = []
    for dataset in datasets:
        folder = parent.path / dataset.name
        folder.mkdir()
        runs.append(_fit_one(name, config, dataset, Run(folder), progress))
    return runs


def _refuse_hopeless(config: FitConfig, dataset: Dataset) -> None:
    """DataError without anything to learn from; a rate is refused now when it could not be promised after the fit."""
    videos = dataset.is_video
    if not dataset.train:
        expected = "videos; expected some in train" if videos else "pictures; expected some in train/good"
        raise DataError(f"{dataset.root}: no normal training {expected} (or --normal DIR)")
    if config.rate is None:
        return
    if not config.rate.is_share:
        things = "frames" if videos else "images"
        advice = "; then offnormal calibrate --normal VIDEOS --rate with footage kept apart" if videos else ""
        raise ConfigError(f"--rate {config.rate}: expected a share of {things}, such as 0.01{advice}")
    if not videos:
        order_statistic(len(dataset.train), config.rate.value)


def _fit_one(name: str, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> Run:
    if not _resumed(config):
        run.write_config(_effective(name, config, dataset))
        if dataset.split is not None:
            write_split(run.path, dataset.split)
    with elsewhere(run, config):
        _fit_here(name, config, dataset, run, progress)
    return run


def _resumed(config: FitConfig) -> bool:
    return isinstance(config, TrainConfig) and config.resume is not None


def _fit_here(name: str, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> None:
    start = time.perf_counter()
    run.log(
        "start",
        verb="fit",
        detector=name,
        data=str(dataset.root),
        layout=dataset.layout,
        **{"videos" if dataset.is_video else "images": len(dataset.train)},
    )
    try:
        detector = _build_detector(name, config, dataset)
        fitted = _learn(detector, config, dataset, run, progress)
        for bad in fitted.skipped:
            run.log("skipped", path=str(bad.path), reason=bad.reason)
        bundle = Bundle(detector.cpu(), card=_card(detector.input, dataset, fitted))
        bundle.calibration = _calibrate(bundle, fitted, config.rate, dataset, run)
        bundle.save(run.path / "bundle")
        if _resumed(config):  # and not refused, so that what was changed may stay
            run.write_config(_effective(name, config, dataset))
        if fitted.is_finished:
            checkpoint.remove(run.path)
    except BaseException as error:
        run.log("failed", error=redact(f"{type(error).__name__}: {error}"))
        raise
    run.log(
        "done",
        seconds=round(time.perf_counter() - start, 3),
        seconds_waiting_for_data=round(fitted.waited_s, 3),
        skipped=len(fitted.skipped),
        calibration=bundle.calibration.explanation if bundle.calibration else None,
    )
    run.bundle, run.skipped, run.has_test = bundle, list(fitted.skipped), bool(dataset.test)


def _build_detector(name: str, config: FitConfig, dataset: Dataset) -> Detector:
    """The detector with its pretrained weights and the input that suits the training data, not yet fitted.

    Raises ConfigError for a detector of clips and a dataset of pictures.
    """
    made = registry.resolve("detectors", name)
    found = survey(dataset.train)
    options: DetectorOptions = made.adapt_options(
        config.detector,  # type: ignore[attr-defined]
        data="pictures" if not dataset.is_video else "videos" if dataset.split is None else "clips",
        shown=median(max(size) for size in found.sizes),
    )
    clip = made.clip_spec(options)
    if not dataset.is_video and clip.frames > 1:
        raise ConfigError(
            f"{name} with these options takes clips of {clip.frames} frames; {dataset.root} holds pictures"
        )
    spec = choose_input(
        found,
        size=config.size or default_side(found, made.default_side(options), made.square_sides),
        multiple=made.input_multiple(options),
        policy=config.resize,
        crop=config.crop,
        interpolation=config.interpolation,
        antialias=config.antialias,
        squares=made.square_sides,
        channels=made.input_channels(options),
        clip=clip,
    )
    if config.privacy_mask is not None:
        spec = replace(spec, mask=read_privacy_mask(config.privacy_mask))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(options.seed)  # of weights that are not pretrained
        detector = made(options, spec)
    _try_size(detector)
    detector.load_pretrained()
    if config.ignore_mask is not None:
        same = found.sizes[0] if len(set(found.sizes)) == 1 else None
        detector.ignore(torch.from_numpy(read_mask(config.ignore_mask, spec, expected=same)))
    return detector


def _try_size(detector: Detector) -> None:
    """ConfigError when the detector's networks cannot take its input size, before any data is read."""
    if not isinstance(detector, StatisticalDetector | EmbeddedDetector):
        return
    height, width = detector.input.size
    frames = (detector.input.frames,) if detector.input.frames > 1 else ()
    try:
        with torch.no_grad():
            detector.embed(torch.zeros(1, detector.input.channels, *frames, height, width))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{detector.name} cannot take an input of {height} x {width} pixels with these options ({error}): give the "
            "size its backbone was made for with --size, or another backbone"
        ) from None


def _learn(detector: Detector, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> Fitted:
    device = choose_device(config.device, config.threads)
    wanted = normals_needed(config.rate.value) if config.rate is not None else 0
    if isinstance(detector, TrainedDetector) and isinstance(config, TrainConfig):
        from offnormal.verbs.fit_trained import fit_by_training  # whose libraries no other fit needs

        return fit_by_training(detector, dataset, config, run, device=device, wanted=wanted, progress=progress)
    if not isinstance(detector, StatisticalDetector):
        raise FitError(f"{detector.name}: no fit loop for this kind of detector")
    what = f"fit {detector.name} on {dataset.name}"
    loader = load_items(
        dataset.train, detector.input, config, config, progress=progress, what=what, every_s=config.every, again=True
    )
    left_out = learn(detector, loader, device=device, seed=detector.options.seed, wanted=wanted)
    return Fitted(left_out=left_out, skipped=loader.skipped, count=loader.given, waited_s=loader.waited_s)


def _nouns(spec: InputSpec, dataset: Dataset) -> Literal["images", "frames", "clips"]:
    """What gets one score, in the plural."""
    return TRAITS[spec.unit(dataset.is_video)].noun[1]


def _calibrate(bundle: Bundle, fitted: Fitted, rate: Rate | None, dataset: Dataset, run: Run) -> Calibration | None:
    if fitted.left_out is None:
        if rate is not None:
            raise FitError("two images give no scores to calibrate with: add normal images, or leave out --rate")
        return None
    samples, nouns = fitted.left_out.samples, _nouns(bundle.detector.input, dataset)
    times_s = [sample.time_s for sample in samples]
    try:
        return calibrate_scores(
            fitted.left_out.score,
            fitted.left_out.peak,
            rate=rate,
            kind=fitted.left_out.kind,
            bundle=bundle.hash,
            groups=[sample.group for sample in samples],
            units=nouns,
            times_s=np.array(times_s, np.float64) if nouns == "frames" and None not in times_s else None,
        )
    except CalibrationError as error:
        if fitted.training is None:
            raise
        raise CalibrationError(
            f"{error}. What was learned is kept: add --resume {run.path} and another --rate"
        ) from None


def _effective(name: str, config: FitConfig, dataset: Dataset) -> dict[str, object]:
    """What was asked for, as a configuration of its own: of one of several categories that one."""
    values = config.model_dump(mode="json")
    values.pop("resume", None)
    values["upload"] = None if config.upload is None else redact(config.upload)
    if config.category == "all":
        values["category"] = dataset.category
    return {"detector": {"name": name, **values.pop("detector")}, **values}


def _card(spec: InputSpec, dataset: Dataset, fitted: Fitted) -> dict[str, object]:
    videos, nouns = dataset.is_video, _nouns(spec, dataset)
    return {
        "data": {
            "kind": "video" if videos else "image",
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            **({"videos": len(dataset.train) - len(fitted.skipped)} if videos else {}),
            "images": fitted.count,
            **({"things": nouns} if nouns == "clips" else {}),
            "skipped": len(fitted.skipped),
            "fingerprint": dataset.fingerprint("train"),
            "contents": dataset.contents(),
        },
        **({"training": fitted.training} if fitted.training is not None else {}),
        "machine": {"system": platform.system(), "processors": os.cpu_count()},
    }
