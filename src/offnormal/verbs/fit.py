"""offnormal fit: dataset -> fitted and calibrated bundle in a run folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
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
from offnormal.data.batches import Loader
from offnormal.data.dataset import Dataset, count_by_folder
from offnormal.data.masks import read_mask
from offnormal.data.reuse import content_keys, drop_copies
from offnormal.data.survey import choose_input, default_side, survey
from offnormal.data.unread import count_reasons, skipped_near
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
from offnormal.scoring import Scorer, choose_device
from offnormal.sources.privacy import read_privacy_mask
from offnormal.training import checkpoint
from offnormal.training.held_out import score_held_out
from offnormal.training.settings import refuse_contradictions
from offnormal.training.statistics import Fitted, fit_statistics
from offnormal.types import MAX_IMAGE_PIXELS, InputSpec, Item, Rate
from offnormal.verbs.loading import (
    Progress,
    load_items,
    open_configured,
    read_split,
    write_split,
)
from offnormal.verbs.tracking import check_destinations, track_and_upload


def fit_config(detector: str) -> type[FitConfig]:
    """Return the configuration of `fit`, with the options of one detector and, if it is trained, of training."""
    detector_class = registry.resolve("detectors", detector)
    name = f"Fit{detector_class.Options.__name__.removesuffix('Options')}"
    options = detector_class.Options.config_field()
    if not issubclass(detector_class, TrainedDetector):
        return create_model(name, __base__=FitConfig, detector=options)
    base = EmbeddedTrainConfig if issubclass(detector_class, EmbeddedDetector) else TrainConfig
    batch_size = detector_class.default_batch_size
    batch = Field(default=batch_size, ge=1, description="Samples per training step, over all devices.")
    description = TrainConfig.model_fields["schedule"].description
    schedule = Field(default=detector_class.default_schedule, description=description)
    return create_model(
        name,
        __base__=base,
        detector=options,
        batch_size=(int, batch),
        schedule=(Annotated[ScheduleName, ADVANCED], schedule),
    )


def resumed_config(resume: str | Path | None) -> Path | None:
    """Return the config.yaml of the run to resume, which the options of this call override."""
    return None if resume is None else Path(resume) / "config.yaml"


def fit_run(
    name: str,
    config: FitConfig,
    progress: Progress | None = None,
    on_data: Callable[[Dataset], None] | None = None,
) -> list[Run]:
    """Fit one detector, or one per category; each run folder has the bundle, its log, and its configuration.

    on_data: called with each dataset before anything is fitted.
    Raises DataError, ConfigError, WeightsError, FitError, or CalibrationError with advice; a failed run keeps its log.
    """
    device = choose_device(config.device, config.threads)
    if isinstance(config, TrainConfig):
        refuse_contradictions(config, device)
    check_destinations(config)
    resumed = config.resume if isinstance(config, TrainConfig) else None
    split = None if resumed is None else read_split(resumed)
    datasets = [drop_copies(dataset) for dataset in open_configured(config, split)]
    for dataset in datasets:
        _check_dataset(config, dataset)
        if on_data is not None:
            on_data(dataset)
    if isinstance(config, TrainConfig) and config.resume is not None:
        if len(datasets) > 1:
            raise ConfigError(f"--resume {config.resume} with --category all: expected one category, that of the run")
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


def _check_dataset(config: FitConfig, dataset: Dataset) -> None:
    """Raise DataError without training data, and refuse a rate now that the data cannot support after the fit."""
    videos = dataset.is_video
    if not dataset.train:
        expected = "videos found; expected some in train" if videos else "images found; expected some in train/good"
        raise DataError(f"{dataset.root}: no normal training {expected}, or give --normal DIR")
    copies = [skip for skip in dataset.skipped if skip.kind == "copy"]
    if not videos and copies and len(dataset.train) + len(dataset.calibration) == 1:
        raise DataError(
            f"{dataset.root}: all normal images are the same: {len(copies) + 1:,} files have the same bytes; expected "
            "different images, at least 2: check the camera, or the export"
        )
    if config.rate is None:
        return
    if not config.rate.is_share:
        noun = "frames" if videos else "images"
        advice = "; then calibrate with held-out footage: offnormal calibrate --normal VIDEOS --rate" if videos else ""
        raise ConfigError(f"--rate {config.rate}: expected a share of {noun}, such as 0.01{advice}")
    if not videos:
        order_statistic(len(dataset.calibration or dataset.train), config.rate.value)


def _fit_one(name: str, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> Run:
    if not _is_resumed(config):
        run.write_config(_effective(name, config, dataset))
        if dataset.split is not None:
            write_split(run.path, dataset.split)
    with track_and_upload(run, config):
        _fit_run(name, config, dataset, run, progress)
    return run


def _is_resumed(config: FitConfig) -> bool:
    return isinstance(config, TrainConfig) and config.resume is not None


def _fit_run(name: str, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None) -> None:
    start = time.perf_counter()
    run.log(
        "start",
        verb="fit",
        detector=name,
        data=str(dataset.root),
        layout=dataset.layout,
        **{"videos" if dataset.is_video else "images": len(dataset.train)},
        folders=count_by_folder(dataset.train),
    )
    try:
        detector = _build_detector(name, config, dataset)
        fitted = _fit_detector(detector, config, dataset, run, progress)
        skipped = [*skipped_near(dataset, dataset.train), *fitted.skipped]
        for bad in skipped:
            run.log("skipped", path=str(bad.path), reason=bad.reason)
        bundle = Bundle(detector.cpu(), card=_card(detector.input, dataset, fitted))
        bundle.calibration = _calibrate(bundle, fitted, config.rate, dataset, run)
        bundle.save(run.path / "bundle")
        if _is_resumed(config):  # only after success, so that a refused change is not stored
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
        skipped=count_reasons(skipped),
        calibration=bundle.calibration.explanation if bundle.calibration else None,
    )
    run.bundle, run.skipped, run.has_test = bundle, skipped, bool(dataset.test)
    run.read = len(dataset.train) + len(dataset.calibration) - len(fitted.skipped)


def _build_detector(name: str, config: FitConfig, dataset: Dataset) -> Detector:
    """Build the unfitted detector with its pretrained weights and an input chosen for the training data.

    Raises ConfigError for a clip detector on a dataset of images.
    """
    detector_class = registry.resolve("detectors", name)
    max_pixels = config.max_image_pixels or MAX_IMAGE_PIXELS
    summary = survey(dataset.train, max_pixels)
    options: DetectorOptions = detector_class.adapt_options(
        config.detector,  # type: ignore[attr-defined]
        data="images" if not dataset.is_video else "videos" if dataset.split is None else "clips",
        longer_side=median(max(size) for size in summary.sizes),
    )
    clip = detector_class.clip_spec(options)
    if not dataset.is_video and clip.frames > 1:
        raise ConfigError(
            f"{name} needs clips of {clip.frames} frames with these options, but {dataset.root} contains images: "
            "give videos, or change the options"
        )
    spec = choose_input(
        summary,
        size=config.size or default_side(summary, detector_class.default_side(options), detector_class.square_sides),
        multiple=detector_class.input_multiple(options),
        policy=config.resize,
        crop=config.crop,
        interpolation=config.interpolation,
        antialias=config.antialias,
        squares=detector_class.square_sides,
        channels=detector_class.input_channels(options),
        clip=clip,
        max_pixels=max_pixels,
        max_input_pixels=config.max_input_pixels,
    )
    if config.privacy_mask is not None:
        spec = replace(spec, mask=read_privacy_mask(config.privacy_mask))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(options.seed)  # for weights that are not pretrained
        with registry.plugin_errors("detectors", name, "its constructor"):
            detector = detector_class(options, spec)
    _try_size(detector)
    detector.load_pretrained()
    if config.ignore_mask is not None:
        same = summary.sizes[0] if len(set(summary.sizes)) == 1 else None
        detector.ignore(torch.from_numpy(read_mask(config.ignore_mask, spec, image_size=same)))
    return detector


def _try_size(detector: Detector) -> None:
    """Raise ConfigError if the detector's networks cannot take its input size, before any data is read."""
    if not isinstance(detector, StatisticalDetector | EmbeddedDetector):
        return
    height, width = detector.input.size
    frames = (detector.input.frames,) if detector.input.frames > 1 else ()
    try:
        with torch.no_grad():
            detector.embed(torch.zeros(1, detector.input.channels, *frames, height, width))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{detector.name} cannot take an input of {height}x{width} with these options "
            f"({type(error).__name__}: {error}): choose another --size or backbone"
        ) from error


def _fit_detector(
    detector: Detector, config: FitConfig, dataset: Dataset, run: Run, progress: Progress | None
) -> Fitted:
    device = choose_device(config.device, config.threads)
    needed = normals_needed(config.rate.value) if config.rate is not None else 0
    if isinstance(detector, TrainedDetector) and isinstance(config, TrainConfig):
        from offnormal.verbs.fit_trained import fit_by_training  # imports libraries that no other fit needs

        return fit_by_training(detector, dataset, config, run, device=device, needed=needed, progress=progress)
    if not isinstance(detector, StatisticalDetector):
        raise FitError(f"{detector.name}: expected a StatisticalDetector or a TrainedDetector to fit")
    task = f"fit {detector.name} on {dataset.name}"
    leaves_out = not dataset.calibration  # a validation set of the dataset's own

    def load(items: Sequence[Item]) -> Loader:
        return load_items(
            items, detector.input, config, config, progress=progress, task=task, every_s=config.every, reread=leaves_out
        )

    loader, seed = load(dataset.train), detector.options.seed
    normal_scores = fit_statistics(detector, loader, device=device, seed=seed, needed=needed, leaves_out=leaves_out)
    skipped = list(loader.skipped)
    if not leaves_out:
        held_out = load(dataset.calibration)
        normal_scores = score_held_out(Scorer(detector, device), held_out)
        skipped += held_out.skipped
    return Fitted(
        normal_scores=normal_scores,
        skipped=skipped,
        count=loader.sample_count,
        waited_s=loader.waited_s,
    )


def _plural_noun(spec: InputSpec, dataset: Dataset) -> Literal["images", "frames", "clips"]:
    """Return the plural noun of the units that get one score."""
    return TRAITS[spec.unit(dataset.is_video)].noun[1]


def _calibrate(bundle: Bundle, fitted: Fitted, rate: Rate | None, dataset: Dataset, run: Run) -> Calibration | None:
    if fitted.normal_scores is None:
        if rate is not None:
            raise FitError("2 images are too few to calibrate: add normal images, or omit --rate")
        return None
    samples, noun = fitted.normal_scores.samples, _plural_noun(bundle.detector.input, dataset)
    times_s = [sample.time_s for sample in samples]
    try:
        return calibrate_scores(
            fitted.normal_scores.score,
            fitted.normal_scores.peak,
            rate=rate,
            kind=fitted.normal_scores.kind,
            bundle=bundle.hash,
            groups=[sample.group for sample in samples],
            units=noun,
            times_s=np.array(times_s, np.float64) if noun == "frames" and None not in times_s else None,
        )
    except CalibrationError as error:
        if fitted.training is None:
            raise
        raise CalibrationError(
            f"{error}. The training is saved: resume with --resume {run.path} and another --rate"
        ) from None


def _effective(name: str, config: FitConfig, dataset: Dataset) -> dict[str, object]:
    """Return the effective configuration; for one of several categories, that category's."""
    values = config.model_dump(mode="json")
    values.pop("resume", None)
    values["upload"] = None if config.upload is None else redact(config.upload)
    if config.category == "all":
        values["category"] = dataset.category
    return {"detector": {"name": name, **values.pop("detector")}, **values}


def _card(spec: InputSpec, dataset: Dataset, fitted: Fitted) -> dict[str, object]:
    videos, noun = dataset.is_video, _plural_noun(spec, dataset)
    return {
        "data": {
            "kind": "video" if videos else "image",
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            **({"videos": len(dataset.train) - len(fitted.skipped)} if videos else {}),
            "images": fitted.count,
            **({"unit": "clip"} if noun == "clips" else {}),
            "skipped": len(fitted.skipped),
            "fingerprint": dataset.fingerprint("train"),
            "contents": content_keys([*dataset.train, *dataset.calibration]),
        },
        **({"training": fitted.training} if fitted.training is not None else {}),
        "machine": {"system": platform.system(), "processors": os.cpu_count()},
    }
