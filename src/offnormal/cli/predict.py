"""offnormal predict BUNDLE INPUTS...: pictures here, videos in cli/predict_videos.py, clips in cli/predict_clips.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import PredictConfig
from offnormal.errors import UsageError

if TYPE_CHECKING:
    from offnormal.verbs.predict import Prediction

COLUMNS = (
    "image_path",
    "pred_score",
    "pred_label",
    "tail_probability",
    "threshold",
    "anomaly_map_path",
    "overlay_path",
)


@takes_flags(PredictConfig)
def command(
    bundle: Path,
    /,
    *inputs: str,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
    exit_code: bool = False,
) -> int:
    """Say of each image or video whether, where, when and how surely it is off.

    Parameters
    ----------
    bundle
        Bundle, or run folder with one.
    inputs
        Pictures or videos: files, folders (searched recursively) and globs.
    config
        YAML file with the same keys; flags win.
    json
        Print one JSON object per image or video.
    exit_code
        Exit with 3 when any image, or any frame of a video, is anomalous, with 1 when none is but some could not be
        read.
    """
    if not inputs:
        raise UsageError("predict needs images or videos: files, folders or globs behind the bundle")
    from offnormal.bundle import load
    from offnormal.cli.csv_table import csv_table
    from offnormal.cli.predict_clips import predict_clips
    from offnormal.cli.predict_videos import predict_videos
    from offnormal.cli.show import progress_bar, say, say_json, warn, warn_skipped
    from offnormal.sources.paths import expand
    from offnormal.verbs.predict import Predictor, apart_from
    from offnormal.verbs.predict_videos import videos_among

    resolved = build(PredictConfig, set_values(options), file=config)
    found = load(bundle) if bundle.is_dir() else None  # where there is none, wrong inputs are told first
    whole = found is not None and found.detector.input.of_whole_video
    videos = [] if whole else videos_among(inputs, resolved)
    paths = [] if videos or whole else apart_from(expand(inputs), resolved.overlays, inputs)
    loaded = found or load(bundle)
    if loaded.calibration is None and resolved.threshold is None:
        if exit_code:
            raise UsageError(
                "--exit-code needs verdicts, and this bundle has no calibration: calibrate, or --threshold"
            )
        warn("this bundle has no calibration: scores come without verdicts (offnormal calibrate, or --threshold)")
    if whole:
        return predict_clips(loaded, inputs, resolved, json=json, exit_code=exit_code)
    if videos:
        return predict_videos(loaded, videos, resolved, json=json, exit_code=exit_code)
    anomalous = 0
    with progress_bar() as progress, csv_table(resolved.csv, COLUMNS) as table:
        predictor = Predictor(loaded, resolved, progress)
        for prediction in predictor.over(paths):
            anomalous += bool(prediction.verdict.anomalous)
            values = as_json(prediction)
            if json:
                say_json(values)
            else:
                say(as_text(prediction))
            if table is not None:
                table.writerow(["" if value is None else value for value in values.values()])
        if json:
            for bad in predictor.skipped:
                say_json({"image_path": bad.path, "error": bad.reason})
    warn_skipped(predictor.skipped)
    if exit_code and anomalous:
        return 3
    return 1 if exit_code and predictor.skipped else 0


def as_text(prediction: Prediction) -> str:
    """Path, score, tail probability and verdict in one line."""
    verdict = prediction.verdict
    tail = "-" if verdict.tail_probability is None else f"{verdict.tail_probability:.2g}"
    word = {None: "no threshold", True: "ANOMALOUS", False: "normal"}[verdict.anomalous]
    return f"{prediction.path}  score {verdict.score:.4g}  tail {tail}  {word}"


def as_json(prediction: Prediction) -> dict[str, Any]:
    """One prediction as plain values, with anomalib's field names where they exist."""
    verdict = prediction.verdict
    raw, picture = prediction.anomaly_map_path, prediction.overlay_path
    values = (
        str(prediction.path),
        verdict.score,
        verdict.anomalous,
        verdict.tail_probability,
        verdict.threshold,
        None if raw is None else str(raw),
        None if picture is None else str(picture),
    )
    return dict(zip(COLUMNS, values, strict=True))
