"""Section 4: events of recordings, as a dry run finds them and as real time delivers them to every sink."""

from __future__ import annotations

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import inputs
from fitted import FEW, fit
from program import Program, files_below, read_csv

_RULES: dict[str, dict[str, float]] = {
    "default": {},
    "quick": {"min_duration_s": 0.2, "merge_gap_s": 0.3},
    "merging": {"min_duration_s": 0.3, "merge_gap_s": 10.0},
    "cool down": {"min_duration_s": 0.2, "merge_gap_s": 0.2, "cool_down_s": 4.0},
    "short": {"min_duration_s": 0.1, "merge_gap_s": 0.2, "max_length_s": 1.5},
}
_SPANS: dict[str, list[tuple[int, int]]] = {  # frames, of 120 at 10 a second
    "calm": [], "one": [(30, 60)], "two near": [(30, 45), (48, 60)], "two far": [(20, 40), (80, 100)],
    "blinks": [(i, i + 1) for i in range(10, 100, 4)], "from the start": [(0, 25)], "to the end": [(90, 120)],
    "all": [(0, 120)], "long": [(20, 100)], "short ones": [(10, 12), (30, 34), (60, 66), (90, 101)],
}  # fmt: skip


def record(program: Program) -> dict[str, Any]:
    """An entry for each recording with each set of rules, and for each further choice."""
    root, results = program.folder("events"), {}
    yard = inputs.yard(root / "yard", masks=False)
    _, run = fit(program, "pixel_gaussian", "--data", yard, "--size", 32, out=root / "runs")
    films = {
        name: inputs.video(root / "films" / f"{name.replace(' ', '-')}.mp4", inputs.film(9 + i, odd=spans, frames=120))
        for i, (name, spans) in enumerate(_SPANS.items())
    }
    cameras = [{"name": path.stem, "source": str(path)} for path in films.values()]
    common: dict[str, Any] = {"bundle": str(run), "threads": 1, "device": "cpu", "out": str(root / "out")}
    for name, rules in _RULES.items():
        results[f"rules {name}"] = _dry(program, root, {**common, "rules": rules, "cameras": cameras})
    near = [{"name": "yard", "source": str(films["two far"])}]
    inside, outside = "0.1,0.05 0.45,0.05 0.45,0.4 0.1,0.4", "0.6,0.6 1,0.6 1,1 0.6,1"
    choices: dict[str, dict[str, Any]] = {
        "zone inside": {"zones": [inside], "threshold": 30.0},
        "zone outside": {"zones": [outside], "threshold": 30.0},
        "zone excluded": {"zones": [f"exclude:{inside}"], "threshold": 30.0},
        "zones both": {"zones": [inside, f"exclude:{outside}"], "threshold": 30.0},
        "zone, threshold of the bundle": {"zones": [inside]},
        "hysteresis none": {"hysteresis": 0.0},
        "hysteresis high": {"hysteresis": 0.9},
        "threshold by hand": {"threshold": 30.0},
        "fps": {"fps": 3.0},
        "schedule": {"schedule": ["mon-fri 08:00-16:00"], "began": "2026-11-20T07:59:55+00:00"},
        "schedule closed": {"schedule": ["sat,sun"], "began": "2026-11-20T08:00:00+00:00"},
        "clock back before": {"schedule": _berlin("02:00-03:00"), "began": "2026-10-25T00:00:00+00:00"},
        "clock back between": {"schedule": _berlin("02:00-03:00"), "began": "2026-10-25T00:59:55+00:00"},
        "clock back after": {"schedule": _berlin("02:00-03:00"), "began": "2026-10-25T01:59:55+00:00"},
        "clock forward": {"schedule": _berlin("01:30-02:30"), "began": "2027-03-28T00:59:55+00:00"},
        "clock forward inside": {"schedule": _berlin("02:10-02:50"), "began": "2027-03-28T00:59:55+00:00"},
        "schedule, no time": {"schedule": ["08:00-16:00"]},
    }
    for name, chosen in choices.items():
        values = {**common, "rules": _RULES["quick"], **chosen, "cameras": near}
        results[name] = _dry(program, root, values)
    results |= _budgets(program, root, common, near)
    text = program.call("watch", run, *films.values(), "--dry-run", "--out", root / "out", *FEW[:2]).entry()
    text["stdout"] = [re.sub(r"(%.*\d)\s+\d+$", r"\1", line) for line in text["stdout"]]  # the last column is the speed
    results["text"] = text
    results |= _real_time(program, root, common, films["two far"])
    return results | _upcam(program, root)


def _berlin(window: str) -> dict[str, Any]:
    return {"timezone": "Europe/Berlin", "windows": [window]}


def _dry(program: Program, root: Path, values: dict[str, Any]) -> Any:
    return _watched(program, root, values, "--dry-run").entry(json=True)


def _watched(program: Program, root: Path, values: dict[str, Any], *flags: str) -> Any:
    """A call with a configuration file."""
    file = program.watch_file(root / "watch.yaml", values)
    return program.call("watch", "--config", file, *flags, "--json")


def _budgets(program: Program, root: Path, common: dict[str, Any], cameras: list[Any]) -> dict[str, Any]:
    """Thresholds of footage, for rates that it supports and that it does not."""
    normal, results = root / "normal", {}
    for i in range(3):
        inputs.video(normal / f"{i}.mp4", inputs.film(40 + i, odd=[(70, 74), (400 + i, 410)], frames=600))
    for rate in ("2/day", "100/hour", "600/hour", "1200/hour"):
        values = {**common, "rate": rate, "calibrate_on": [str(normal)], "rules": _RULES["quick"], "cameras": cameras}
        results[f"budget {rate}"] = _dry(program, root, values)
    return results


class _Taker(BaseHTTPRequestHandler):
    accepted: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers.get("Content-Type", "")
        self.accepted.append(json.loads(body) if kind.startswith("application/json") else f"{kind.partition(';')[0]}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _real_time(program: Program, root: Path, common: dict[str, Any], film: Path) -> dict[str, Any]:
    """The same recording in real time through every sink; scores and numbers of events, not moments."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    jsonl = root / "told"
    jsonl.mkdir()
    values = {
        **common,
        "out": str(root / "live"),
        "rules": _RULES["quick"],
        "record": {"pre_roll_s": 0.5, "post_roll_s": 0.5},
        "sinks": [f"jsonl:{jsonl / 'events.jsonl'}", f"csv:{jsonl / 'events.csv'}", f"files:{jsonl / 'files'}",
                  f"webhook:http://127.0.0.1:{server.server_port}/hook"],
        "cameras": [{"name": "yard", "source": str(film), "realtime": True}],
    }  # fmt: skip
    file = program.watch_file(root / "live.yaml", values)
    done = program.call("watch", "--config", file, "--json", alone=True)
    server.shutdown()
    lines = (jsonl / "events.jsonl").read_text().splitlines() if (jsonl / "events.jsonl").is_file() else []
    rows = read_csv(jsonl / "events.csv")
    return {
        "real time": {
            "exit": done.code,
            "stdout": _steady(_in_order(done.json)),
            "jsonl": [_steady(json.loads(line)) for line in lines],
            "csv": [_steady(row) for row in rows] if isinstance(rows, list) else rows,
            "webhook": _steady(_in_order(_Taker.accepted)),
            "files": _kinds(jsonl / "files"),
            "recorded": _kinds(root / "live"),
            "stderr": [line for line in done.err.splitlines() if "127.0.0.1" not in line],
        }
    }


def _kinds(folder: Path) -> list[str]:
    """Names of files without the moments in them."""
    names = [re.sub(r"\d{4}-\d\d-\d\d/", "DAY/", name) for name in files_below(folder)] if folder.is_dir() else []
    return sorted(re.sub(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}", "EVENT", name) for name in names)


def _in_order(values: list[Any]) -> list[Any]:
    """What was told of events, opened ones first: the load decides what comes between them."""
    return sorted(values, key=lambda value: '"closed"' in json.dumps(value))


def _steady(value: Any) -> Any:
    """An event of real time without what depends on the load of the machine: moments, and scores one by one."""
    if isinstance(value, dict):
        loose = ("start", "end", "peak", "scores", "position_s", "duration_s", "peak_score", "p_value",
                 "tail_probability", "start_s", "end_s", "peak_s", "time", "told")  # fmt: skip
        return {
            key: "<loose>" if key in loose and inner is not None else _steady(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_steady(inner) for inner in value]
    return value


def _upcam(program: Program, root: Path) -> dict[str, Any]:
    """The labelled hour of a real camera, with a budget from another hour."""
    if program.data is None:
        return {}
    source, days = program.data / "video/upcam", root / "days"
    days.mkdir()
    shutil.copyfile(sorted((source / "train").glob("05-*.mp4"))[0], days / "day.mp4")
    _, run = fit(program, "pixel_gaussian", "--normal", days, "--every", "10s", "--size", 32, out=root / "upcam")
    values = {
        "bundle": str(run), "threads": 1, "device": "cpu", "out": str(root / "out"), "rate": "4/hour", "fps": 1.0,
        "calibrate_on": [str(path) for path in sorted((source / "train").glob("07-*.mp4"))[:1]],
        "cameras": [{"name": "upcam", "source": str(source / "eval/00.mp4")}],
    }  # fmt: skip
    return {"upcam": _dry(program, root, values), "upcam own threshold": _dry(
        program, root, {key: value for key, value in values.items() if key not in ("rate", "calibrate_on")}
    )}  # fmt: skip
