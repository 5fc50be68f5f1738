"""offnormal predict BUNDLE INPUT..."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build, input_files
from offnormal.config.model import set_values
from offnormal.config.score import PredictConfig
from offnormal.errors import UsageError, score_text

if TYPE_CHECKING:
    from offnormal.data.dataset import Skipped
    from offnormal.evaluation.alarms import VideoAlarm
    from offnormal.verbs.predict import Prediction, Predictor

_WORDS = {None: "no threshold", True: "ANOMALOUS", False: "normal"}


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
    """Score images or videos: which are anomalous, where, and when.

    Parameters
    ----------
    bundle
        Bundle, or run folder.
    inputs
        Images or videos: files, folders (searched recursively), or globs.
    config
        YAML file with settings, named like the flags; flags win.
    json
        Print one JSON object per image, video, or clip, and at the end one with counts if anything was skipped.
    exit_code
        Exit with 3 if anything is anomalous; otherwise with 1 if a file could not be read.
    """
    if not inputs:
        raise UsageError("predict needs images or videos after the bundle: files, folders, or globs")
    from offnormal.bundle import load
    from offnormal.cli.show import printer, progress_bar, say_json, warn
    from offnormal.data.unread import counts_as_json
    from offnormal.evaluation.scores_csv import score_writer
    from offnormal.verbs.predict import Predictor, items_to_predict, unread_inputs

    flags = set_values(options)
    resolved = build(PredictConfig, flags, file=config)
    say = printer(resolved.csv, json=json)
    existing = load(bundle) if bundle.is_dir() else None  # without a bundle, wrong inputs are reported first
    items = items_to_predict(inputs, resolved, existing, input_files(flags, config))
    loaded = existing or load(bundle)
    if loaded.calibration is None and resolved.threshold is None:
        advice = "run offnormal calibrate, or set --threshold"
        if exit_code:
            raise UsageError(f"--exit-code needs verdicts, and this bundle is not calibrated: {advice}")
        warn(f"this bundle is not calibrated: scores have no verdicts ({advice})")
    verdicts: Counter[bool | None] = Counter()
    assumed: set[float] = set()
    with progress_bar() as progress, contextlib.ExitStack() as files:
        predictor = Predictor(loaded, resolved, progress)
        write = files.enter_context(score_writer(resolved.csv)) if resolved.csv is not None else None
        for prediction in predictor.over(items):
            verdicts[prediction.is_anomalous] += 1
            if write is not None:
                write(prediction.table)
            if json:
                say_json(as_json(prediction))
            else:
                for line in as_text(prediction):
                    say(line)
            fps = prediction.assumed_fps
            if fps is not None and fps not in assumed:
                assumed.add(fps)
                warn(f"{prediction.item.name} has no clock: times assume {fps:g} frames per second (--fps)")
    skipped = [*unread_inputs(inputs, items, resolved), *predictor.skipped]
    if json and skipped:
        say_json(counts_as_json(verdicts.total(), skipped))
    noun = "video" if items[0].is_video else "image"
    if not json and len(items) > 1:
        say(_summary(verdicts, len(predictor.skipped), noun))
    _warn_about_inputs(predictor, skipped, verdicts.total(), noun)
    if exit_code and verdicts[True]:
        return 3
    return 1 if exit_code and any(bad.is_failure for bad in skipped) else 0


def _warn_about_inputs(predictor: Predictor, skipped: list[Skipped], read: int, noun: str) -> None:
    """Print items that the bundle used before, what was skipped, and how many items were read."""
    from offnormal.cli.show import warn, warn_counts, warn_skipped

    nouns = (noun, f"{noun}s")
    if note := predictor.reuse.note(nouns):
        warn(note)
    warn_skipped(skipped)
    warn_counts(read, nouns, skipped)


def _summary(verdicts: Counter[bool | None], skipped: int, noun: str) -> str:
    """One line for all items: how many are anomalous, normal, without a verdict, and skipped."""
    from offnormal.errors import counted

    numbers = {"anomalous": verdicts[True], "normal": verdicts[False]} if not verdicts[None] else {}
    numbers |= {"without a verdict": verdicts[None]} if verdicts[None] else {}
    numbers |= {"skipped": skipped} if skipped else {}
    total = counted(verdicts.total() + skipped, noun, f"{noun}s")
    return f"{total}: {', '.join(f'{number} {name}' for name, number in numbers.items())}"


def as_text(prediction: Prediction) -> list[str]:
    """One line for an image or clip: name, score, p-value, verdict; for a video also one line per alarm."""
    if prediction.seconds is not None or prediction.alarms is not None or len(prediction.table) != 1:
        return _video_text(prediction)
    p_value = prediction.table.p_value[0]
    name = prediction.item.name
    class_name = "" if prediction.item.class_name is None else f"  {prediction.item.class_name}"
    p_text = "-" if math.isnan(p_value) else f"{p_value:.2g}"
    score = f"score {score_text(prediction.table.score[0])}  p-value {p_text}"
    return [f"{name}{class_name}  {score}  {_WORDS[prediction.is_anomalous]}"]


def _video_text(prediction: Prediction) -> list[str]:
    """One line with length, frames, peak score, and time in alarm, then one line per alarm."""
    from offnormal.drawing.wording import clock_tenths, clock_text
    from offnormal.errors import counted

    table, peak = prediction.table, prediction.peak
    frames, scored = len(table), int(table.scored.sum())
    facts = [] if prediction.seconds is None else [clock_text(prediction.seconds)]
    facts.append(counted(frames, "frame", "frames") + (f", {scored} scored" if scored < frames else ""))
    if peak is None:
        facts.append("not scored: " + "; ".join(dict.fromkeys(why for _, _, why in table.reason)))
    else:
        facts.append(f"peak {score_text(table.score[peak])} at {clock_tenths(_time(prediction, peak))}")
        facts.append("no threshold" if prediction.alarms is None else _in_alarm(prediction))
    lines = ["  ".join([prediction.item.name, *facts])]
    for entry in prediction.alarms.alarms if prediction.alarms is not None else ():
        alarm = entry.alarm
        line = f"  {clock_tenths(alarm.start_s)}-{clock_tenths(alarm.end_s)}"
        line += f"  peak {score_text(table.score[alarm.peak])} at {clock_tenths(_time(prediction, alarm.peak))}"
        if not math.isnan(table.p_value[alarm.peak]):
            line += f"  p-value {table.p_value[alarm.peak]:.2g}"
        overlay = prediction.overlays.get(alarm.peak)
        lines.append(line if overlay is None else f"{line}  {overlay}")
    if prediction.annotated is not None:
        lines.append(f"  annotated {prediction.annotated}")
    return lines


def _in_alarm(prediction: Prediction) -> str:
    report = prediction.alarms
    if report is None or not report.alarms:
        return "no alarm"
    from offnormal.drawing.wording import percent
    from offnormal.errors import counted

    number = counted(len(report.alarms), "alarm", "alarms")
    return f"{number}, {report.footage_in_alarm_s:.1f} s ({percent(report.time_in_alarm or 0.0)}) in alarm"


def _time(prediction: Prediction, frame: int) -> float:
    time_s = float(prediction.table.time_s[frame])
    return frame / (prediction.assumed_fps or 1.0) if math.isnan(time_s) else time_s


def as_json(prediction: Prediction) -> dict[str, object]:
    """One prediction as plain values: the same keys for every unit, null for a key that does not apply."""
    table, peak, report = prediction.table, prediction.peak, prediction.alarms
    is_video = prediction.seconds is not None or report is not None
    verdict = prediction.is_anomalous
    thinned = any(item.is_thinned for item in table.items)
    return {
        "item": prediction.item.name,
        "unit": table.unit.value,
        "class": prediction.item.class_name,
        "score": None if peak is None else float(table.score[peak]),
        "p_value": None if peak is None else _number(table.p_value[peak]),
        "verdict": None if verdict is None else "anomalous" if verdict else "normal",
        "threshold": prediction.threshold,
        "terms": {} if peak is None else {name: _number(values[peak]) for name, values in table.terms.items()},
        "peak_frame": peak if is_video else None,
        "frames": len(table) if is_video else None,
        "scored_frames": int(table.scored.sum()) if is_video else None,
        "seconds": prediction.seconds,
        "assumed_fps": prediction.assumed_fps,
        "seconds_in_alarm": None if report is None else report.footage_in_alarm_s,
        "time_in_alarm": None if report is None else report.time_in_alarm,
        "alarms": [] if report is None else [_alarm_json(prediction, alarm) for alarm in report.alarms],
        "not_scored": [
            {"start": start, "stop": stop, "reason": why} for start, stop, why in (() if thinned else table.reason)
        ],
        "warnings": list(prediction.warnings),
        "map_path": None if prediction.map_path is None else str(prediction.map_path),
        "overlay_paths": [str(path) for path in prediction.overlays.values()],
        "annotated_path": None if prediction.annotated is None else str(prediction.annotated),
    }


def _alarm_json(prediction: Prediction, entry: VideoAlarm) -> dict[str, object]:
    alarm, table = entry.alarm, prediction.table
    overlay = prediction.overlays.get(alarm.peak)
    return {
        "start_s": alarm.start_s,
        "end_s": alarm.end_s,
        "start_frame": alarm.start,
        "stop_frame": alarm.stop,
        "peak_frame": alarm.peak,
        "peak_s": _time(prediction, alarm.peak),
        "peak_score": float(table.score[alarm.peak]),
        "p_value": _number(table.p_value[alarm.peak]),
        "overlay_path": None if overlay is None else str(overlay),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
