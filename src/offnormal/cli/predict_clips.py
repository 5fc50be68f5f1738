"""What offnormal predict says of clips judged as wholes: a line, a JSON object or a row of CSV each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offnormal.bundle import Bundle
from offnormal.cli.csv_table import csv_table
from offnormal.cli.show import progress_bar, say, say_json, warn_skipped
from offnormal.config.score import PredictConfig
from offnormal.verbs.predict_clips import ClipPredictor, classes_known, clips_named, refuse_options_of_frames

if TYPE_CHECKING:
    from offnormal.verbs.predict_clips import ClipPrediction

COLUMNS = ("video", "class", "score", "tail_probability", "anomalous")


def predict_clips(
    bundle: Bundle, inputs: tuple[str, ...], config: PredictConfig, *, json: bool, exit_code: bool
) -> int:
    """Predict on clips and say what was found, clip by clip; the exit code."""
    refuse_options_of_frames(config)
    clips = clips_named(inputs, known=classes_known(bundle), as_video=config.as_video)
    anomalous = 0
    with progress_bar() as progress, csv_table(config.csv, COLUMNS) as table:
        predictor = ClipPredictor(bundle, config, progress)
        for prediction in predictor.over(clips):
            anomalous += bool(prediction.verdict.anomalous)
            if table is not None:
                table.writerow(row(prediction))
            if json:
                say_json(as_json(prediction))
            else:
                say(as_text(prediction))
        if json:
            for bad in predictor.skipped:
                say_json({"video_path": bad.path, "error": bad.reason})
    warn_skipped(predictor.skipped)
    if exit_code and anomalous:
        return 3
    return 1 if exit_code and predictor.skipped else 0


def as_text(prediction: ClipPrediction) -> str:
    """Path, class, score, tail probability and verdict in one line."""
    verdict, video = prediction.verdict, prediction.video
    tail = "-" if verdict.tail_probability is None else f"{verdict.tail_probability:.2g}"
    word = {None: "no threshold", True: "ANOMALOUS", False: "normal"}[verdict.anomalous]
    action = "" if video.action is None else f"  {video.action}"
    return f"{video.path}{action}  score {verdict.score:.4g}  tail {tail}  {word}"


def as_json(prediction: ClipPrediction) -> dict[str, Any]:
    """One prediction as plain values, named as those of pictures and videos are."""
    verdict, video = prediction.verdict, prediction.video
    return {
        "video_path": str(video.path),
        "video": video.name,
        "class": video.action,
        "pred_score": verdict.score,
        "pred_label": verdict.anomalous,
        "tail_probability": verdict.tail_probability,
        "threshold": verdict.threshold,
    }


def row(prediction: ClipPrediction) -> list[Any]:
    """The cells of COLUMNS."""
    verdict, video = prediction.verdict, prediction.video
    return [
        video.name,
        video.action or "",
        f"{verdict.score:.7g}",
        "" if verdict.tail_probability is None else f"{verdict.tail_probability:.4g}",
        "" if verdict.anomalous is None else int(verdict.anomalous),
    ]
