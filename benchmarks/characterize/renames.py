"""What has been renamed on purpose since the first record, so that later versions can be compared with it."""

from __future__ import annotations

import re
from typing import Any

# (verb, flag as the sections write it) -> (flag that a later version may have, its value for the old one's)
FLAGS: dict[tuple[str, str], tuple[str, str]] = {
    **{(verb, "--merge-gap-s"): ("--merge-gap", "{}s") for verb in ("predict", "compare")},
    ("calibrate", "--normals"): ("--normal", "{}"),
    ("fit", "--clip"): ("--clip-grad-norm", "{}"),
    ("fit", "--parts"): ("--split", "{}"),
    ("evaluate", "--parts"): ("--split", "{}"),
    ("fit", "--limit-time"): ("--max-time", "{}"),
    ("watch", "--began"): ("--start-time", "{}"),
    ("fit", "--neighbours"): ("--neighbors", "{}"),
    ("fit", "--motion-s"): ("--motion-lag", "{}s"),
    ("fit", "--update"): ("--online-update", "{}"),
    ("fit", "--memory"): ("--memory-size", "{}"),
    ("fit", "--unfreeze-at"): ("--finetune-from", "{}"),
    ("fit", "--unfrozen-epochs"): ("--finetune-epochs", "{}"),
    ("fit", "--unfrozen-rate"): ("--finetune-rate", "{}"),
    ("fit", "--colours"): ("--color-order", "{}"),
    ("fit", "--lag-s"): ("--lag", "{}s"),
    **{(verb, "--on-bad"): ("--on-error", "{}") for verb in ("fit", "calibrate", "evaluate", "predict", "benchmark")},
    **{(verb, "--mask"): ("--privacy-mask", "{}") for verb in ("fit", "calibrate", "evaluate", "predict", "watch")},
    **{(verb, f"--{kind}-classes"): (f"--{kind}-class", "{}") for verb in ("fit", "evaluate")
       for kind in ("normal", "anomalous")},
}  # fmt: skip

# verbs that count alarms, and flags with which later versions count them as the first record does
COUNT_ALARMS = ("evaluate", "predict", "calibrate", "compare")
ALARM_RULES = {"--min-duration": "0s", "--merge-gap": "1s", "--hysteresis": "0"}

# (flag as the sections write it, its value) -> the value that a flag of the new name takes
VALUES: dict[tuple[str, str], str] = {("--on-bad", "stop"): "fail"}


def watch_config(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration file of `watch` as later versions want it: other names, rules in durations, hysteresis a rule."""
    renamed = {{"began": "start_time"}.get(key, key): value for key, value in values.items()}
    rules = {key.removesuffix("_s"): f"{value}s" for key, value in renamed.pop("rules", {}).items()}
    if "hysteresis" in renamed:
        rules["hysteresis"] = renamed.pop("hysteresis")
    return {**renamed, "rules": rules} if rules else renamed


def watch_rules(values: dict[str, Any]) -> dict[str, Any]:
    """The rules of a configuration file of `watch` as still later versions call them."""
    names = {"max_length": "max_duration", "gap": "max_gap"}
    return {**values, "rules": {names.get(key, key): value for key, value in values.get("rules", {}).items()}}


# internal module:name -> further places to look for it
MOVED: dict[str, tuple[str, ...]] = {
    "offnormal.sinks.retention:Retention": ("offnormal.recording.retention:Retention",),
}

# of the older record, before it is compared: keys, old -> new
KEYS: dict[str, str] = {
    "tail_probability": "p_value", "pred_score": "score", "pred_label": "verdict", "anomaly_map_path": "map_path",
    "on_bad": "on_error", "limit_time": "max_time", "clip_caught": "clip_detected",
    "clip_kept_train": "clip_passed_train", "clip_kept_validation": "clip_passed_calibration",
    "clip_kept_test": "clip_passed_test", "kept": "passed", "kept_share": "passed_share",
    "caught_share": "detected_share",
    "true_normal": "passed", "escape": "missed", "escapes": "missed", "escapes_per_100_bad": "missed_per_100_anomalous",
    "false_alarms_per_100_good": "false_alarms_per_100_normal", "pixel_metrics_of_its_own_evaluation": "pixel_metrics",
    "AUC_by_part": "AUC_breakdown", "left_out": "excluded", "right": "correct", "caught": "detected",
    "licence": "license", "elsewhere": "destinations", "kept_back": "held_out", "early_loss": "frozen_loss",
    "neighbours": "neighbors", "motion_s": "motion_lag", "lag_s": "lag", "colours": "color_order",
    "update": "online_update", "memory": "memory_size", "unfreeze_at": "finetune_from",
    "unfrozen_epochs": "finetune_epochs", "unfrozen_rate": "finetune_rate",
    "what": "transition", "conditions": "setup_hash", "promise": "guarantee", "where": "location",
    "passed_over_frames": "suppressed_frames", "max_length_s": "max_duration_s", "gap_s": "max_gap_s",
    "gives": "first_frame", "found": "cached", "things": "unit",
    **{flag: later for (_, flag), (later, _) in FLAGS.items()},  # of help pages
}  # fmt: skip

# of the older record, in keys: replaced wherever it stands
IN_KEYS = (
    (re.compile(r"\bcentre\b"), "center"),
    (re.compile(r"\bneighbours\b"), "neighbors"),
    (re.compile(r"\bnormalisation\b"), "normalization"),
    (re.compile(r"^\.\[\]\.found$"), ".[].result"),  # of doctor
)

# of the older record, before it is compared: (key, old value) -> new value
CELLS: dict[tuple[str, object], object] = {
    ("on_bad", "stop"): "fail",
    ("rate", "20%"): "0.2",
    ("format_version", 1): 2,  # of events and bundles
    ("drawn", "pictures"): "images",
    **{("things", f"{unit}s"): unit for unit in ("image", "frame", "clip")},
    ("pred_label", False): "normal",
    ("pred_label", True): "anomalous",
}

# keys that the newer record has and the older one has not, without a difference: what is told of every unit now
ADDED = {
    "class", "group", "split", "reason", "label", "unit", "terms", "guarantee", "confusion", "classification_report",
    "operating_points", "oracle_threshold", "classes", "splits", "frames", "alarms", "warnings", "median_score",
    "restarts", "split_seed", "assumed_fps", "rows", "pixel", "rank", "peak_frame", "scored_frames", "seconds",
    "seconds_in_alarm", "time_in_alarm", "not_scored", "annotated_path", "map_path", "overlay_paths", "frame", "time_s",
    "low_threshold", "normal_s", "rules", "terms.error", "good", "anomalous", "interval", "pixel metrics", "predict",
    "FOLDER", "--rules", "--min-duration", "--merge-gap", "--cool-down", "--max-duration", "--max-gap", "--hysteresis",
    "--transport",
}  # fmt: skip

# of the older record, before it is compared: replaced wherever it stands in a text
TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^moved: .*"), "there"),  # where a pinned name has to be
    (re.compile(r"--on-bad\b"), "--on-error"),
    (re.compile(r"--normals\b"), "--normal"),
    (re.compile(r"\[default: stop\]"), "[default: fail]"),
    (re.compile(r"\[default: 0\.4\]"), "[default: 0.4s]"),
    (re.compile(r"\btail (?=[\d.])"), "p-value "),
    (re.compile(r"cannot be promised"), "cannot be guaranteed"),
    (re.compile(r"\bescapes(?= +\d)"), "missed"),
    (re.compile(r"\bspans caught\b"), "spans detected"),
    (re.compile(r"(\d) x (?=\d)"), r"\1x"),
    (re.compile(r"\b0\.4(?= \| \u2013)|(?<= \u2013 \| )0\.4\b"), "0.4s"),  # lags, in a comparison of options
)

_LABELS: dict[object, str] = {0.0: "normal", 1.0: "anomalous", "False": "normal", "True": "anomalous"}
_SPLITS = {"validation": "calibration"}
_COLUMNS = {
    "item", "frame", "time_s", "label", "class", "group", "split", "score", "tail_probability", "verdict", "reason",
}  # fmt: skip

# keys that are null in the older record and have a value in the newer one: times of frames, positions of camera events
FILLED = {"block_s", "position_s"}


def is_added(key: str) -> bool:
    """Whether a key of the newer record alone is no difference."""
    name = key.rpartition(".")[2] if key.startswith(".") else key  # of a list of keys
    return name in ADDED or name.startswith("terms.")


def reshaped(value: dict[str, Any]) -> dict[str, Any]:
    """A mapping of the older record in the form that the newer one has, where that differs by more than names."""
    if "secrets" in value or "secrets in output" in value:  # none, whatever there were
        return {key: [] if isinstance(inner, list) and key != "lines" else inner for key, inner in value.items()}
    if "video_path" in value:
        return {"item": value["video_path"], **{k: v for k, v in value.items() if k not in ("video_path", "video")}}
    if "tail_probability" in value and {"anomalous", "not_scored", "image_path"} & value.keys():
        return _row(value)
    if {"metrics", "missing", "calibration", "data"} <= value.keys():
        return _metrics(value)
    if "AUC_by_part" in value:  # of `compare`
        renamed = {{"operation": "alarms", "accuracy": "splits"}.get(key, key): inner for key, inner in value.items()}
        renamed["splits"] = [_split(row) for row in renamed["splits"]]
        return {**renamed, "alarms": _alarms(renamed["alarms"])}
    if "clips" in value and "parts" in value and "normal_classes" in value:  # split.json
        renamed = {"shares" if key == "parts" else key: inner for key, inner in value.items()}
        renamed["shares"] = {_SPLITS.get(key, key): inner for key, inner in renamed["shares"].items()}
        return {**renamed, "clips": [_split(row) for row in renamed["clips"]]}
    if value.keys() == {"unit", "units", "draws", "seed"}:
        return {"drawn" if key == "unit" else key: inner for key, inner in value.items()}
    if "split_seed" in value and "parts" in value and "detector" in value:  # the configuration of a fit
        names = {"parts": "split", "clip": "clip_grad_norm", "mask": "privacy_mask"}
        renamed = {names.get(key, key): inner for key, inner in value.items()}
        normal, anomalous = renamed.pop("normal_classes"), renamed.pop("anomalous_classes")
        renamed["normal_class"] = normal if renamed["normal_class"] is None else [renamed["normal_class"]]
        return {**renamed, "anomalous_class": anomalous}
    if lags := {"motion_s", "lag_s"} & value.keys():  # options of a detector; of several, in a comparison
        return {**value, **{key: _seconds(value[key]) for key in lags}}
    if value.keys() == {"count", "of", "per_100", "low", "high"}:
        return {"total" if key == "of" else key: inner for key, inner in value.items()}
    return value


def _seconds(value: Any) -> Any:
    return {run: f"{inner}s" for run, inner in value.items()} if isinstance(value, dict) else f"{value}s"


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of scores.csv, or of what `predict` writes."""
    names = {"video": "item", "path": "item", "image_path": "item", "defect": "class", "part": "split",
             "original": "group", "anomalous": "verdict", "not_scored": "reason", "pred_label": "verdict"}  # fmt: skip
    renamed = {names.get(key, key): inner for key, inner in row.items()}
    for key in ("label", "verdict"):
        if key in renamed and not isinstance(renamed[key], bool):
            renamed[key] = _LABELS.get(renamed[key], renamed[key])
        elif key in renamed:
            renamed[key] = ("normal", "anomalous")[renamed[key]]
    if "split" in renamed:
        renamed["split"] = _SPLITS.get(renamed["split"], renamed["split"])
    if isinstance(renamed.get("tail_probability"), float) and not isinstance(row.get("pred_label"), bool):  # of a table
        renamed["tail_probability"] = float(f"{renamed['tail_probability']:.4g}")
    if "image_path" not in row:
        return {key if key in _COLUMNS else f"terms.{key}": inner for key, inner in renamed.items()}
    overlay = renamed.pop("overlay_path", None)
    if "image_path" in row and isinstance(row["pred_label"], str):  # of the table
        return {key: inner for key, inner in renamed.items() if key not in ("threshold", "anomaly_map_path")}
    return {**renamed, "overlay_paths": [overlay] if overlay else []} if "image_path" in row else renamed


def _split(row: dict[str, Any]) -> dict[str, Any]:
    names = {"part": "split", "clips": "count", "caught": "detected"}
    return {names.get(key, key): _SPLITS.get(inner, inner) if key == "part" else inner for key, inner in row.items()}


def _alarms(operation: dict[str, Any] | None) -> dict[str, Any] | None:
    names = {"spans_caught": "spans_detected"}
    return operation and {names.get(key, key): inner for key, inner in operation.items() if key != "merge_gap_s"}


def _metrics(value: dict[str, Any]) -> dict[str, Any]:
    """metrics.json."""
    renamed = {key: inner for key, inner in value.items() if key not in ("best_by_hindsight", "parts", "operation")}
    if "parts" in value:
        renamed["terms"] = value["parts"]
    if "best_by_hindsight" in value:
        best = value["best_by_hindsight"]
        renamed["oracle_threshold"] = best and {
            "threshold": best["threshold"], "passed": best["kept"], "detected": best["caught"]
        }  # fmt: skip
    if "videos" in value:
        renamed["frames"] = {
            "smoothing": renamed.pop("smoothing"), "EER_threshold": renamed.pop("eer_threshold"),
            "videos": [
                {"item": row["name"], "frames": row["frames"],
                 "not_scored": sum(span["stop"] - span["start"] for span in row["not_scored"]),
                 "anomalous": row["anomalous_frames"], "frame_AUC": row["frame_AUC"], "reason": row["reason"]}
                for row in renamed.pop("videos")
            ],
        }  # fmt: skip
        renamed["alarms"] = _alarms(value["operation"])
    if "accuracy" in value:
        renamed["splits"] = [_split(row) for row in renamed.pop("accuracy")]
        for row in renamed["classes"].values():
            row["counts"] = {_SPLITS.get(key, key): inner for key, inner in row.pop("clips").items()}
            if "caught" in row:
                row["detected"] = row.pop("caught")
    if "defects" in value:
        renamed["classes"] = {
            row["defect"]: {"counts": {"": row["count"]}, "detected": row["caught"],
             "detected_share": row["recall"], "AUROC": row["auroc"]} for row in renamed.pop("defects")
        }  # fmt: skip
    data = {
        key: inner for key, inner in value["data"].items() if key not in ("kind", "videos", "frames", "images", "clips")
    }
    counts = value["data"]
    data["items"] = counts.get("videos", counts.get("images", counts.get("clips")))
    if "frames" in counts:
        data["rows"] = counts["frames"]
    return {**renamed, "data": data}


# what differs on purpose: places (whole, with [] for [number]) and why
INTENDED: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\w+ / .*\balarms \[\] / end_s"),
        "an alarm at the end of a video ends with its last frame, as in watch",
    ),
    (re.compile(r"detectors_videos / calibrate 2/hour / stderr"), "30 s of footage are half a block of 60 s now"),
    (re.compile(r"frames / \w+ (clock jumps|no time in one packet|raw h264|mjpeg)\b.*"), "the rule of clocks"),
    (
        re.compile(r"frames / predict [\w ]+, frames every .* / (frames|\w*seconds\w*|time_in_alarm|stop_frame)"),
        "--every does not change the duration, nor where an alarm ends",
    ),
    (
        re.compile(r"frames / predict (gap|one frame), frames / .* / (seconds|time_in_alarm)"),
        "seconds are those that frames are shown",
    ),
    (
        re.compile(r"commands / keys of (evaluate|predict|compare)\b.*"),
        "one JSON; reports and detectors_* have its values",
    ),
    (
        re.compile(r"commands / help fit \w+ / --(rate|size|finetune-from)"),
        "other examples and words; the same defaults",
    ),
    (re.compile(r"commands / help \w+ / --merge-gap"), "one definition of an alarm, with the defaults of watch"),
    (re.compile(r"commands / call predict VBUNDLE FILM --every .* / stdout"), "--every does not change the frames"),
    (re.compile(r"commands / call compare .* / data / kind"), "replaced by unit"),
    (re.compile(r"layouts / tree .* / fingerprint"), "one hash for images, videos, and clips; of other content"),
    (re.compile(r"layouts / refused labels short / .*"), "fit refuses frame labels shorter than their video"),
    (re.compile(r"reports / .*\bcounts / \w+"), "pages have other sections"),
    (re.compile(r"reports / .* / drawn"), "other ticks and drawings"),
    (re.compile(r"reports / .* / data / kind"), "replaced by unit"),
    (
        re.compile(r"reports / (images / lines|videos(?: trained)? / lines)"),
        "the clearest detection instead of the median one; an alarm at the end of a video ends with its last frame",
    ),
    (re.compile(r"events / upcam.*/ events \[\] / detail"), "the end of a scene change has the share at its height"),
)

# relative, by section; others: 1e-6
TOLERANCE: dict[str, float] = {}
