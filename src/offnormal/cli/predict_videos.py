"""What offnormal predict says of videos: a line each and one for every alarm, JSON, and a table of all frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.bundle import Bundle
from offnormal.cli.csv_table import csv_table
from offnormal.cli.show import progress_bar, say, say_json, warn, warn_skipped
from offnormal.config import PredictConfig
from offnormal.report.timeline import clock_text
from offnormal.sinks.panel import clock
from offnormal.verbs.predict_videos import VideoPredictor

if TYPE_CHECKING:
    from offnormal.metrics.operational import Alarm
    from offnormal.verbs.predict_videos import VideoPrediction

COLUMNS = ("video", "frame", "time_s", "score", "tail_probability", "anomalous", "not_scored")


def predict_videos(bundle: Bundle, paths: list[Path], config: PredictConfig, *, json: bool, exit_code: bool) -> int:
    """Predict on videos and say what was found, video by video; the exit code."""
    alarmed = False
    clockless = False
    with progress_bar() as progress, csv_table(config.csv, COLUMNS) as table:
        predictor = VideoPredictor(bundle, config, progress)
        for prediction in predictor.over(paths):
            alarmed = alarmed or prediction.is_anomalous
            if table is not None:
                table.writerows(rows(prediction))
            if json:
                say_json(as_json(prediction))
            else:
                for line in as_text(prediction):
                    say(line)
            if prediction.seconds is None and not clockless:
                clockless = True
                warn(f"{prediction.path}: has no clock, which alarms need: give its frames per second with --fps")
        if json:
            for bad in predictor.skipped:
                say_json({"video_path": bad.path, "error": bad.reason})
    warn_skipped(predictor.skipped)
    if exit_code and alarmed:
        return 3
    return 1 if exit_code and predictor.skipped else 0


def as_text(prediction: VideoPrediction) -> list[str]:
    """Length, frames, highest score and time in alarm in one line, then a line for every alarm."""
    scores, times = prediction.scored.scores, prediction.scored.scores.times_s
    number, scored = len(scores.scores), int(scores.scored.sum())
    facts = ["no clock" if prediction.seconds is None else clock_text(prediction.seconds)]
    facts.append(f"{number} frames" + (f", {scored} scored" if scored < number else ""))
    if prediction.peak is None:
        facts.append("not scored: " + "; ".join(dict.fromkeys(span.reason for span in prediction.scored.not_scored)))
    else:
        at = f"in frame {prediction.peak}" if times is None else f"at {clock(times[prediction.peak])}"
        facts.append(f"peak {scores.scores[prediction.peak]:.4g} {at}")
    if prediction.threshold is None:
        facts.append("no threshold")
    elif times is None:
        facts.append(f"{int((scores.scores > prediction.threshold).sum())} frames anomalous")
    elif prediction.peak is not None:
        facts.append(_in_alarm(prediction))
    lines = ["  ".join([str(prediction.path), *facts])]
    for alarm in prediction.alarms:
        found = f"  {clock(alarm.start_s)}-{clock(alarm.end_s)}  peak {scores.scores[alarm.peak]:.4g}"
        found += f" at {clock(scores.clock.times_s[alarm.peak])}"
        if prediction.scored.tail_probability is not None:
            found += f"  tail {prediction.scored.tail_probability[alarm.peak]:.2g}"
        picture = prediction.pictures.get(alarm.peak)
        lines.append(found if picture is None else f"{found}  {picture}")
    if prediction.annotated is not None:
        lines.append(f"  annotated {prediction.annotated}")
    return lines


def _in_alarm(prediction: VideoPrediction) -> str:
    operation, number = prediction.operation, len(prediction.alarms)
    if operation is None or not number:
        return "no alarm"
    share = operation.time_in_alarm or 0.0
    return f"{number} alarm{'s' * (number > 1)}, {operation.footage_in_alarm_s:.1f} s ({share:.1%}) in alarm"


def as_json(prediction: VideoPrediction) -> dict[str, Any]:
    """One prediction as plain values, named as those of pictures are."""
    scored, operation, peak = prediction.scored, prediction.operation, prediction.peak
    scores = scored.scores
    return {
        "video_path": str(prediction.path),
        "video": scored.name,
        "pred_score": None if peak is None else float(scores.scores[peak]),
        "pred_label": None if prediction.threshold is None or peak is None else prediction.is_anomalous,
        "tail_probability": None if peak is None else _tail(prediction, peak),
        "threshold": prediction.threshold,
        "peak_frame": peak,
        "frames": len(scores.scores),
        "scored_frames": int(scores.scored.sum()),
        "seconds": prediction.seconds,
        "seconds_in_alarm": None if operation is None else operation.footage_in_alarm_s,
        "time_in_alarm": None if operation is None else operation.time_in_alarm,
        "alarms": [_alarm(prediction, alarm) for alarm in prediction.alarms],
        "not_scored": [] if not prediction.looked_at.all() else [span._asdict() for span in scored.not_scored],
        "warnings": list(scored.warnings),
        "annotated_path": None if prediction.annotated is None else str(prediction.annotated),
        "overlay_paths": [str(path) for path in prediction.pictures.values()],
    }


def _alarm(prediction: VideoPrediction, alarm: Alarm) -> dict[str, Any]:
    picture = prediction.pictures.get(alarm.peak)
    return {
        "start_s": alarm.start_s,
        "end_s": alarm.end_s,
        "start_frame": alarm.start,
        "stop_frame": alarm.stop,
        "peak_frame": alarm.peak,
        "peak_s": float(prediction.scored.scores.clock.times_s[alarm.peak]),
        "peak_score": float(prediction.scored.scores.scores[alarm.peak]),
        "tail_probability": _tail(prediction, alarm.peak),
        "overlay_path": None if picture is None else str(picture),
    }


def _tail(prediction: VideoPrediction, frame: int) -> float | None:
    tail = prediction.scored.tail_probability
    return None if tail is None else float(tail[frame])


def rows(prediction: VideoPrediction) -> Iterator[list[Any]]:
    """Rows of COLUMNS, one a frame, as `evaluate` writes them; with `every` the frames that were looked at alone."""
    found, tail, threshold = prediction.scored.scores, prediction.scored.tail_probability, prediction.threshold
    spans = iter([*prediction.scored.not_scored, None])
    span = next(spans)
    for frame in np.flatnonzero(prediction.looked_at).tolist():
        while span is not None and span.stop <= frame:
            span = next(spans)
        score = found.scores[frame]
        scored = not np.isnan(score)
        yield [
            prediction.scored.name,
            frame,
            "" if found.times_s is None else f"{found.times_s[frame]:.3f}",
            f"{score:.7g}" if scored else "",
            f"{tail[frame]:.4g}" if tail is not None and scored else "",
            int(score > threshold) if threshold is not None and scored else "",
            span.reason if span is not None and span.start <= frame else "",
        ]
