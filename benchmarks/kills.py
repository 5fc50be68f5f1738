"""Kill verbs at random moments (kill -9) and check what is on disk: `python benchmarks/kills.py --count 50 [VERB ...]`.

Every second kill comes at a random moment of the run, the others within 50 ms after the run has changed a file. Only
kills of a running process count. After each, what existed before is complete and readable, and what is new is complete
or absent; at the end, the next run succeeds and leaves no unfinished file. For `watch`, images arrive all the time: no
event is delivered twice, and every event that was opened is closed in the end, with its images.

Each run is a fork of this process, which has imported everything, so that the moments are those of its work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

import offnormal.api
from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.evaluation.scores_csv import read_table
from offnormal.evaluation.stored import read_evaluation
from offnormal.types import Unit

assert offnormal.api
_WRITING_S = 0.05  # within this after the first change of a file
_LIVE_S = 4.0  # of a run of `watch`
_ARRIVES_S = 0.1  # between two images that arrive


@dataclass(frozen=True)
class Verb:
    """A command, the folder or file that it writes, and a check of what is on disk. at_end: nothing runs any more."""

    arguments: list[object]
    out: Path
    check: Callable[[bool], None]
    is_live: bool = False  # it runs until it is stopped, and images arrive


class Workspace:
    """Images, a bundle fitted on them, and a folder in which images arrive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        for folder, count, level in (("normal", 40, 0), ("more", 40, 0), ("test/good", 20, 0), ("test/bad", 20, 90)):
            (root / folder).mkdir(parents=True)
            for number in range(count):
                image = rng.normal(120, 5, (32, 32, 3))
                image[8:16, 8:16] += level
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / folder / f"{number:03}.png")
        self.finish("fit", "pixel_gaussian", "--normal", root / "normal", "--size", 32, "--out", root / "first")
        (self.run,) = (root / "first").iterdir()
        (root / "arriving").mkdir()
        self._arrived, self._arrived_s = 0, 0.0

    def start(self, *arguments: object) -> int:
        """Start a verb; return its process."""
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.chdir(self.root)
                with (self.root / "output.txt").open("wb") as output:
                    os.dup2(output.fileno(), 1)
                    os.dup2(output.fileno(), 2)
                code = run([str(argument) for argument in arguments])
            finally:
                os._exit(code)
        return process

    def finish(self, *arguments: object) -> float:
        """Run a verb to its end; return the seconds it took."""
        start_s = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(self.start(*arguments), 0)[1])
        assert code == 0, (self.root / "output.txt").read_text(errors="replace")
        return time.monotonic() - start_s

    def kill(self, verb: Verb, after_s: float, *, when_writing: bool) -> bool:
        """Kill a run after this time, or this time after it has changed a file; return whether it was running."""
        before = _signature(verb.out)
        process = self.start(*verb.arguments)
        end_s = time.monotonic() + (60.0 if when_writing else after_s)
        while time.monotonic() < end_s:
            if os.waitpid(process, os.WNOHANG)[0]:
                return False
            if when_writing and _signature(verb.out) != before:
                when_writing, end_s = False, time.monotonic() + after_s
            if verb.is_live:
                self._let_arrive()
            time.sleep(0.0005)
        os.kill(process, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(process, 0)[1])

    def finish_live(self, verb: Verb) -> None:
        """Run `watch` as images arrive, then stop it."""
        process, end_s = self.start(*verb.arguments), time.monotonic() + 3 * _LIVE_S
        while time.monotonic() < end_s:
            self._let_arrive()
            time.sleep(0.01)
        os.kill(process, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code == 0, (self.root / "output.txt").read_text(errors="replace")

    def _let_arrive(self) -> None:
        """Let the next image arrive if it is time: now three anomalous ones, now three normal ones."""
        if time.monotonic() - self._arrived_s < _ARRIVES_S:
            return
        kind, name = ("good", "bad")[self._arrived // 3 % 2], f"{self._arrived:06}.png"
        shutil.copyfile(self.root / f"test/{kind}/{self._arrived % 20:03}.png", self.root / f".{name}")
        (self.root / f".{name}").replace(self.root / "arriving" / name)
        self._arrived, self._arrived_s = self._arrived + 1, time.monotonic()


def _signature(path: Path) -> set[tuple[str, int, int]]:
    """Name, size, and time of everything at a path."""
    entries = [path, *path.rglob("*")] if path.exists() else []
    statuses = [(str(entry), entry.lstat()) for entry in entries if entry.exists()]
    return {(name, status.st_size, status.st_mtime_ns) for name, status in statuses}


def fit(workspace: Workspace) -> Verb:
    """A run has a complete bundle or none."""
    out = workspace.root / "fits"

    def check(at_end: bool) -> None:
        for bundle in out.glob("*/bundle"):
            assert load(bundle).calibration is not None
        assert not at_end or any(out.glob("*/bundle"))

    return Verb(
        ["fit", "pixel_gaussian", "--normal", workspace.root / "normal", "--size", 32, "--out", out], out, check
    )


def evaluate(workspace: Workspace) -> Verb:
    """The evaluation before it, or the new one."""
    root, out = workspace.root, workspace.root / "evaluation"
    arguments = ["evaluate", workspace.run, "--normal", root / "normal", "--test", root / "test", "--out", out]
    workspace.finish(*arguments)

    def check(_: bool) -> None:
        assert len(read_evaluation(out).table) == 40
        assert (out / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")

    return Verb(arguments, out, check)


def predict(workspace: Workspace) -> Verb:
    """The CSV file before it, or the new one."""
    csv = workspace.root / "scores" / "scores.csv"
    arguments = ["predict", workspace.run, workspace.root / "test", "--csv", csv]
    workspace.finish(*arguments)

    def check(_: bool) -> None:
        assert len(read_table(csv, Unit.IMAGE)) == 40

    return Verb(arguments, csv.parent, check)


def calibrate(workspace: Workspace) -> Verb:
    """A valid calibration, the old one or the new one."""
    numbers = [0]

    def check(_: bool) -> None:
        bundle = load(workspace.run)
        assert bundle.calibration is not None and bundle.history.current_entry is not None
        assert bundle.history.current_entry.id == bundle.calibration.id
        assert len(bundle.history.entries) >= numbers[-1], "an earlier calibration is lost"
        numbers.append(len(bundle.history.entries))

    return Verb(["calibrate", workspace.run, "--normal", workspace.root / "more"], workspace.run / "bundle", check)


def watch(workspace: Workspace) -> Verb:
    """No event twice, and none that stays open."""
    root, events = workspace.root, workspace.root / "events.jsonl"
    config = {
        "bundle": str(workspace.run),
        "cameras": [{"source": str(root / "arriving"), "rules": {"min_duration": 0, "merge_gap": 0.1, "max_gap": 1}}],
        "sinks": [{"kind": "jsonl", "path": str(events), "when": ["opened", "closed"]}],
        "out": str(root / "watching"),
    }
    (root / "watch.yaml").write_text(yaml.safe_dump(config))

    def check(at_end: bool) -> None:
        text = events.read_text(encoding="utf-8") if events.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        transitions = Counter((line["event"]["id"], line["transition"]) for line in lines)
        assert not lines or max(transitions.values()) == 1, "an event was delivered twice"
        if at_end:
            opened, closed = (
                {event for event, change in transitions if change == name} for name in ("opened", "closed")
            )
            assert closed and opened <= closed, "an event stays open"
            for line in lines:
                snapshot = line["event"]["snapshot"]
                assert snapshot is None or (root / "watching/events" / snapshot).stat().st_size > 0

    return Verb(["watch", "--config", root / "watch.yaml"], events, check, is_live=True)


VERBS = {"fit": fit, "evaluate": evaluate, "predict": predict, "calibrate": calibrate, "watch": watch}


def kill_verb(name: str, count: int, chance: random.Random) -> str:
    """Kill a verb this many times; return what was done. AssertionError for a fault."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        verb = VERBS[name](workspace)
        whole_s = _LIVE_S if verb.is_live else workspace.finish(*verb.arguments)
        kills = tries = 0
        while kills < count:
            tries += 1
            assert tries <= 10 * count, "the verb ends before it can be killed"
            writing = kills % 2 == 1
            kills += workspace.kill(verb, chance.uniform(0.0, _WRITING_S if writing else whole_s), when_writing=writing)
            verb.check(False)
        if verb.is_live:
            workspace.finish_live(verb)
        else:
            workspace.finish(*verb.arguments)
        verb.check(True)
        unfinished = [path for path in verb.out.parent.rglob("*") if "partial" in path.name]
        assert not unfinished, f"unfinished files stay: {unfinished}"
    return f"{kills} kills of {tries} runs of {whole_s:.1f} s, {kills // 2} of them while it wrote"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", help=f"any of {list(VERBS)}; default: all")
    parser.add_argument("--count", type=int, default=50, help="kills of each verb")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.verbs or VERBS:
        done = kill_verb(name, options.count, random.Random(f"{name} {options.seed}"))
        print(f"{name}: {done}; nothing lost, nothing doubled", flush=True)


if __name__ == "__main__":
    main()
