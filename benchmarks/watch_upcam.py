"""UPCam's labeled hour watched as a dry run, with a budget of 2 alarms an hour: what is raised, caught and how late.

    python benchmarks/watch_upcam.py --data UPCAM --work DIR [--rate 2/hour] [--min-duration 1] [--every 5s]
        [--threads 2] [--detector padim --size 128]

Fitted on days 05 and 06 (one frame every five seconds), calibrated on day 07, one camera's three hours. An event of
the labels is caught by an alarm that is on during it; its delay counts from its start to the moment at which people
are reported, which is when the alarm opens. What follows --detector is given to `offnormal fit` as it stands.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

FPS = 5.0


def offnormal(*arguments: str) -> str:
    program = Path(sys.executable).with_name("offnormal")
    return subprocess.run([str(program), *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def fitted(data: Path, work: Path, detector: list[str], every: str) -> Path:
    bundle = work / "run"
    if not bundle.exists():
        days = work / "days"
        days.mkdir(parents=True)
        for path in sorted(data.glob("train/0[56]-*.mp4")):
            shutil.copy(path, days)
        out = work / "runs"
        offnormal("fit", *detector, "--normal", str(days), "--every", every, "--out", str(out))
        next(out.iterdir()).rename(bundle)
    return bundle


def labeled(path: Path) -> list[tuple[float, float]]:
    """Seconds of each anomalous stretch."""
    flags, spans, frame = [int(line) for line in path.read_text().split()], [], 0
    for value, run in groupby(flags):
        length = len(list(run))
        if value:
            spans.append((frame / FPS, (frame + length) / FPS))
        frame += length
    return spans


def outside(on: list[tuple[float, float]], spans: list[tuple[float, float]]) -> float:
    """Seconds of alarms, none of which overlap, in which no event is."""
    inside = sum(max(0.0, min(end, stop) - max(begin, start)) for begin, end in on for start, stop in spans)
    return sum(end - begin for begin, end in on) - inside


def report(run: dict[str, Any], spans: list[tuple[float, float]]) -> None:
    alarms = [event for event in run["events"] if event["kind"] == "anomaly"]
    on = [(alarm["position_s"], alarm["position_s"] + alarm["duration_s"]) for alarm in alarms]
    alerts_s = [start + alarm["rules"]["min_duration_s"] for (start, _), alarm in zip(on, alarms, strict=True)]
    hits = [
        [max(0.0, at - start) for (begin, end), at in zip(on, alerts_s, strict=True) if begin < stop and end > start]
        for start, stop in spans
    ]
    false = sum(not any(begin < stop and end > start for start, stop in spans) for begin, end in on)
    hours = run["seconds"] / 3600
    normal_hours = hours - sum(stop - start for start, stop in spans) / 3600
    delays = sorted(min(event_delays) for event_delays in hits if event_delays)
    print(f"threshold {run['threshold']:.5g}; {run['guarantee']}")
    print("| | |\n|---|---|")
    print(f"| alarms an hour | {run['alarms'] / hours:.1f} |")
    print(f"| of them beside every event | {false}, {false / normal_hours:.1f} an hour of normal life |")
    print(f"| of normal life, in alarm | {outside(on, spans) / (3600 * normal_hours):.0%} |")
    print(f"| events caught | {len(delays)} of {len(spans)} |")
    if delays:
        print(f"| delay, median and longest | {delays[len(delays) // 2]:.1f} s, {delays[-1]:.1f} s |")
    others = Counter(event["kind"] for event in run["events"] if event["kind"] != "anomaly")
    other_events = ", ".join(f"{count} {kind}" for kind, count in others.items())
    print(f"| of the camera itself | {other_events or 'none'} |")
    print(f"| frames above the threshold while the scene changed | {run['suppressed_frames']} |")
    print(f"| speed | {run['seconds'] / run['took_s']:.0f} x real time |")
    print("\n| event | length | caught after |\n|---|---|---|")
    for (start, stop), event_delays in zip(spans, hits, strict=True):
        print(f"| {start:.0f} s | {stop - start:.0f} s | {f'{min(event_delays):.1f} s' if event_delays else '-'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; kept")
    parser.add_argument("--rate", default="2/hour")
    parser.add_argument("--min-duration", type=float, default=1.0, help="seconds that an alarm must last to be told")
    parser.add_argument("--every", default="5s", help="learn from one frame in so many seconds")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--detector", nargs=argparse.REMAINDER, default=["padim"], help="and options of `fit`, last")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    bundle = fitted(args.data, args.work, args.detector, args.every)
    watched = {
        "bundle": str(bundle.resolve()),
        "rate": args.rate,
        "calibrate_on": [str(path.resolve()) for path in sorted(args.data.glob("train/07-*.mp4"))],
        "rules": {"min_duration": args.min_duration},
        "out": str((args.work / "watching").resolve()),
        "cameras": [{"name": "upcam", "source": str((args.data / "eval/00.mp4").resolve())}],
    }
    configuration = args.work / "watch.yaml"
    configuration.write_text(json.dumps(watched))  # which is YAML, too
    output = offnormal("watch", "--config", str(configuration), "--dry-run", "--json", "--threads", args.threads)
    (args.work / "dry_run.json").write_text(output)
    report(json.loads(output), labeled(args.data / "eval/00.csv"))


if __name__ == "__main__":
    main()
