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
    **{(verb, "--on-bad"): ("--on-error", "{}") for verb in ("fit", "calibrate", "evaluate", "predict")},
}

# (flag as the sections write it, its value) -> the value that a flag of the new name takes
VALUES: dict[tuple[str, str], str] = {("--on-bad", "stop"): "fail"}


def watch_config(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration file of `watch` as later versions want it: other names, rules in durations, hysteresis a rule."""
    found = {{"began": "start_time"}.get(key, key): value for key, value in values.items()}
    rules = {key.removesuffix("_s"): f"{value}s" for key, value in found.pop("rules", {}).items()}
    if "hysteresis" in found:
        rules["hysteresis"] = found.pop("hysteresis")
    return {**found, "rules": rules} if rules else found


# internal module:name -> further places to look for it
MOVED: dict[str, tuple[str, ...]] = {}

# of the older record, before it is compared: keys of JSON and columns of CSV, old -> new
KEYS: dict[str, str] = {}

# of the older record, before it is compared: (key, old value) -> new value
CELLS: dict[tuple[str, object], object] = {}

# of the older record, before it is compared: replaced wherever it stands in a text
TEXT: tuple[tuple[re.Pattern[str], str], ...] = ()

# relative, by section; others: 1e-6
TOLERANCE: dict[str, float] = {}
