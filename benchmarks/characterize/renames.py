"""What has been renamed on purpose since the first record, so that later versions can be compared with it."""

from __future__ import annotations

import re
from typing import Any

# (verb, flag as the sections write it) -> (flag that a later version may have, its value for the old one's)
FLAGS: dict[tuple[str, str], tuple[str, str]] = {
    ("predict", "--merge-gap-s"): ("--merge-gap", "{}s"),
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
    **{(verb, "--on-bad"): ("--on-error", "{}") for verb in ("fit", "calibrate", "evaluate", "predict")},
    **{(verb, "--mask"): ("--privacy-mask", "{}") for verb in ("fit", "calibrate", "evaluate", "predict", "watch")},
    **{(verb, f"--{kind}-classes"): (f"--{kind}-class", "{}") for verb in ("fit", "evaluate")
       for kind in ("normal", "anomalous")},
}  # fmt: skip

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
    "AUC_by_part": "AUC_breakdown", "left_out": "excluded", "right": "correct",
}  # fmt: skip

# of the older record, before it is compared: (key, old value) -> new value
CELLS: dict[tuple[str, object], object] = {
    ("on_bad", "stop"): "fail",
    ("format_version", 1): 2,  # of events and bundles
    ("pred_label", False): "normal",
    ("pred_label", True): "anomalous",
}

# keys that the newer record has and the older one has not, without a difference: what is told of every unit now
ADDED = {
    "class", "group", "split", "reason", "label", "unit", "terms", "guarantee", "confusion", "classification_report",
    "operating_points", "oracle_threshold", "classes", "splits", "frames", "alarms", "warnings", "median_score",
    "restarts", "split_seed", "assumed_fps", "rows", "pixel", "rank", "peak_frame", "scored_frames", "seconds",
    "seconds_in_alarm", "time_in_alarm", "not_scored", "annotated_path", "map_path", "overlay_paths", "frame", "time_s",
    "low_threshold", "normal_s", "rules", "terms.error", "good", "anomalous", "interval",
}  # fmt: skip

# of the older record, before it is compared: replaced wherever it stands in a text
TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"--on-bad\b"), "--on-error"),
    (re.compile(r"--normals\b"), "--normal"),
    (re.compile(r"\btail (?=[\d.])"), "p-value "),
    (re.compile(r"cannot be promised"), "cannot be guaranteed"),
    (re.compile(r"\bescapes(?= +\d)"), "missed"),
    (re.compile(r"\bspans caught\b"), "spans detected"),
)

_LABELS: dict[object, str] = {0.0: "normal", 1.0: "anomalous", "False": "normal", "True": "anomalous"}
_SPLITS = {"validation": "calibration"}
_COLUMNS = {
    "item", "frame", "time_s", "label", "class", "group", "split", "score", "tail_probability", "verdict", "reason",
}  # fmt: skip


def reshaped(value: dict[str, Any]) -> dict[str, Any]:
    """A mapping of the older record in the form that the newer one has, where that differs by more than names."""
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
        renamed = {"split" if key == "parts" else key: inner for key, inner in value.items()}
        return {"clip_grad_norm" if key == "clip" else key: inner for key, inner in renamed.items()}
    return value


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


# relative, by section; others: 1e-6
TOLERANCE: dict[str, float] = {}
