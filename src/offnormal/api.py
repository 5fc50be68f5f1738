"""The public Python API: fit, calibrate, score, predict, evaluate, compare, watch, load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from offnormal.bundle import Bundle, load
from offnormal.calibration.calibration import Calibration
from offnormal.config.layers import build
from offnormal.config.score import CalibrateConfig, CompareConfig, EvaluateConfig, PredictConfig
from offnormal.data.images import stack, to_pixels
from offnormal.data.loaders import ImageLoader
from offnormal.data.resolve import resolve_items
from offnormal.errors import DataError, UsageError
from offnormal.evaluation.compare import Comparison
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.scores_csv import score_writer
from offnormal.run import Run
from offnormal.scoring import Scorer, concatenate
from offnormal.sources.deep import DeepImage, from_pillow
from offnormal.sources.image import Decoded
from offnormal.types import Event, Rate, Scores
from offnormal.verbs import compare as compare_verb
from offnormal.verbs.calibrate import calibrate_bundle
from offnormal.verbs.evaluate import evaluate_run, refuse_learned
from offnormal.verbs.fit import fit_config, fit_run, resumed_config
from offnormal.verbs.loading import open_configured, read_split
from offnormal.verbs.predict import Prediction, Predictor, items_to_predict
from offnormal.verbs.watch import Watch
from offnormal.watching.config import WatchConfig

__all__ = ["calibrate", "compare", "evaluate", "fit", "load", "predict", "score", "watch"]

Images = str | Path | np.ndarray | Image.Image | Iterable[str | Path | np.ndarray | Image.Image]


def fit(
    detector: str, /, data: str | Path | None = None, *, resume: str | Path | None = None, **options: object
) -> Run:
    """Learn what is normal from a dataset; `run.bundle` is the fitted and calibrated detector.

    data: a folder. options: keywords named like the flags of `offnormal fit` (`normal="good/"`, `size=256`,
    `backbone="resnet18"`, `rate=0.01`, `out="runs"`).
    Raises ConfigError, DataError, WeightsError, FitError, CalibrationError.
    """
    model = fit_config(detector)
    inner = model.model_fields["detector"].annotation
    assert inner is not None
    detector_options = {
        name: options.pop(name)
        for name in list(options)
        if name in inner.model_fields and name not in model.model_fields
    }
    if options.get("category") == "all":
        raise UsageError("fit gives one run: name a category, or use offnormal fit --category all")
    nested = options.get("detector", {})
    options["detector"] = {**nested, **detector_options} if isinstance(nested, Mapping) else nested
    config = build(
        model,
        _plain({**options, "data": data, "resume": resume}),
        file=resumed_config(resume),
        environment={},
        detector=detector,
    )
    return fit_run(detector, config)[0]


def calibrate(
    bundle: Bundle, normal: str | Path, rate: Rate | str | float | None = None, **options: object
) -> Calibration:
    """Set the threshold of a bundle from normal images that it was not trained on; a saved bundle is updated on disk.

    options: keywords named like the flags of `offnormal calibrate` (`dry_run=True`, `out="copy/"`). The earlier
    calibrations stay: `bundle.history`, `bundle.undo_calibration()`, `bundle.use_calibration(number)`.
    Raises CalibrationError if the rate cannot be guaranteed.
    """
    _require_bundle(bundle, "calibrate")
    config = build(CalibrateConfig, _plain({**options, "normal": normal, "rate": rate}), environment={})
    return calibrate_bundle(bundle, config).calibration


def score(bundle: Bundle, images: Images, *, device: str = "auto", batch_size: int = 16) -> Scores:
    """Compute raw scores and anomaly maps, one row per image; higher = more anomalous.

    images: one or several of these: files, folders, globs, arrays (H, W, 3) or (H, W), Pillow images; or one array
    (N, H, W, 3). Maps have the input size of the detector.
    Raises DataError if there is nothing to read, and ImageError for a file that cannot be read.
    """
    _require_bundle(bundle, "score")
    scorer, spec = Scorer(bundle.detector, device), bundle.input
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim != 4):
        images = [images]  # an array that is not (N, H, W, C) is one image
    entries = _entries(images, "score needs images: paths, arrays, or Pillow images")
    if not entries:
        raise DataError("no images to score")
    if all(isinstance(item, str | Path) for item in entries):
        items = resolve_items([name for name in entries if isinstance(name, str | Path)], kind="image")
        return concatenate(
            piece.scores for piece in scorer.score_batches(ImageLoader(items, spec, batch_size=batch_size))
        )
    arrays = [to_pixels(_decoded(item), spec) for item in entries]
    batches = (stack(arrays[start : start + batch_size]) for start in range(0, len(arrays), batch_size))
    return concatenate(scorer.score(batch) for batch in batches)


def _decoded(item: object) -> Decoded:
    if isinstance(item, Image.Image):
        return from_pillow(item) or item
    if not isinstance(item, np.ndarray):
        raise DataError(f"cannot score a {type(item).__name__} among arrays; expected an array or a Pillow image")
    is_color = item.ndim == 3 and item.shape[2] in (3, 4)
    is_deep = item.dtype == np.uint16
    if not (is_color or item.ndim == 2) or not (is_deep or item.dtype == np.uint8) or item.size == 0:
        raise DataError(
            f"an array of shape {item.shape} and type {item.dtype}: expected (H, W, 3), (H, W, 4), or (H, W) of uint8 "
            "or uint16"
        )
    if not is_deep:
        return Image.fromarray(item)
    return DeepImage(item[..., :3], item[..., 3] if item.shape[2] == 4 else None) if is_color else DeepImage(item)


def predict(bundle: Bundle, inputs: str | Path | Sequence[str | Path], **options: object) -> Iterator[Prediction]:
    """Yield the verdict on each image, video, or clip as soon as it is scored; a video also has its alarms.

    inputs: files, folders, or globs. options: keywords named like the flags of `offnormal predict` (`threshold=4.2`,
    `csv="scores.csv"`, `overlays="heat/"`). Without a calibration or a threshold, there are scores but no verdicts.
    A file that cannot be read raises an error; with `on_error="skip"`, it is skipped.
    Raises UsageError and DataError at the call, not at the first verdict.
    """
    _require_bundle(bundle, "predict")
    advice = "predict needs files, folders, or globs"
    names = [str(name) for name in ([inputs] if isinstance(inputs, str | Path) else _entries(inputs, advice))]
    config = build(PredictConfig, _plain(options), environment={})
    items = items_to_predict(names, config, bundle)
    predictor = Predictor(bundle, config)

    def predictions() -> Iterator[Prediction]:
        with score_writer(config.csv) if config.csv is not None else nullcontext() as write:
            for prediction in predictor.over(items):
                if write is not None:
                    write(prediction.table)
                yield prediction

    return predictions()


def evaluate(bundle: Bundle, data: str | Path | None = None, **options: object) -> Evaluation:
    """Evaluate a bundle on labeled images or videos; write metrics.json, scores.csv, and report.html.

    options: keywords named like the flags of `offnormal evaluate` (`test="bad_and_good/"`, `out="results/"`).
    """
    if options.get("category") == "all":
        raise UsageError("evaluate gives one evaluation: name a category, or use offnormal evaluate --category all")
    _require_bundle(bundle, "evaluate")
    config = build(EvaluateConfig, _plain({**options, "data": data}), environment={})
    split = None if bundle.path is None else read_split(bundle.path)
    (dataset,) = open_configured(config, split)
    refuse_learned(bundle, dataset)
    return evaluate_run(bundle, dataset, config)[0]


def compare(*runs: Run | str | Path, **options: object) -> Comparison:
    """Compare evaluations of the same data, on the units that all of them scored; the first is the baseline.

    runs: run folders, each with an evaluation. options: keywords named like the flags of `offnormal compare`
    (`combine=True`, `out="results/"`). Writes comparison.json, comparison.md, and report.html.
    Raises UsageError, DataError, CalibrationError.
    """
    paths = [run.path if isinstance(run, Run) else run for run in runs]
    return compare_verb.compare(paths, build(CompareConfig, _plain(options), environment={}))[0]


def watch(
    bundle: Bundle | str | Path, source: str | Path, rate: Rate | str | None = None, **options: object
) -> Iterator[Event]:
    """Yield each event of a camera or recording when it opens and when it closes; stops at the end of a recording.

    bundle: a saved bundle, or its path. options: keys of a configuration file of `offnormal watch`
    (`sinks=["jsonl:events.jsonl"]`, `zones=[...]`, `calibrate_on=[...]`, `out="watching"`). Leaving the loop early
    stops watching.
    Raises ConfigError, UsageError, BundleError, and CalibrationError at the call, and OffnormalError for a recording
    that cannot be read.
    """
    path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    if path is None:
        raise UsageError("watch needs a bundle on disk: bundle.save(...) first")
    camera = {"source": str(source), "name": options.pop("name", "")}
    values = _plain({**options, "bundle": path, "rate": rate, "cameras": [camera]})
    return Watch(build(WatchConfig, values, environment={})).events()


def _entries(values: object, advice: str) -> list[Any]:
    """Several values as a list; UsageError for anything that is not several."""
    if not isinstance(values, Iterable) or isinstance(values, bytes):
        raise UsageError(f"{advice}; got {type(values).__name__}")
    return list(values)


def _require_bundle(bundle: object, verb: str) -> None:
    if not isinstance(bundle, Bundle):
        raise UsageError(f"{verb} needs a bundle; got {type(bundle).__name__}: load it first, offnormal.load(PATH)")


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that are set."""
    return {name: value for name, value in values.items() if value is not None}
