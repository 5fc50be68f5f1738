"""Kill verbs at random moments (kill -9) and check what is on disk: `python benchmarks/kills.py --count 50 [VERB ...]`.

After each kill, what existed before is complete and readable, what is new is complete or absent, and the next run of
the verb succeeds. For `watch`, no event is delivered twice, and every delivered event is closed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.bundle import load
from offnormal.evaluation.scores_csv import read_table
from offnormal.evaluation.stored import read_evaluation
from offnormal.types import Unit

PROGRAM = [sys.executable, "-m", "offnormal"]


class Workspace:
    """Images, a bundle fitted on them, and a recording with an event."""

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

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.root)

    def finish(self, *arguments: object) -> float:
        """Run a verb to its end; return the seconds it took."""
        start_s = time.monotonic()
        process = self.start(*arguments)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        return time.monotonic() - start_s

    def kill(self, after_s: float, *arguments: object) -> None:
        process = self.start(*arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()


def fit(workspace: Workspace) -> tuple[list[object], Callable[[], None]]:
    """A run has a complete bundle or none."""
    out = workspace.root / "fits"

    def check() -> None:
        for card in out.glob("*/bundle/card.json"):
            assert load(card.parent).calibration is not None

    return ["fit", "pixel_gaussian", "--normal", workspace.root / "normal", "--size", 32, "--out", out], check


def evaluate(workspace: Workspace) -> tuple[list[object], Callable[[], None]]:
    """The evaluation before it, or the new one."""
    out = workspace.root / "evaluation"
    arguments = [
        "evaluate",
        workspace.run,
        "--normal",
        workspace.root / "normal",
        "--test",
        workspace.root / "test",
        "--out",
        out,
    ]
    workspace.finish(*arguments)
    return arguments, lambda: None if len(read_evaluation(out).table) == 40 else sys.exit("rows are missing")


def predict(workspace: Workspace) -> tuple[list[object], Callable[[], None]]:
    """The CSV file before it, or the new one."""
    csv = workspace.root / "scores.csv"
    arguments = ["predict", workspace.run, workspace.root / "test", "--csv", csv]
    workspace.finish(*arguments)
    return arguments, lambda: None if len(read_table(csv, Unit.IMAGE)) == 40 else sys.exit("rows are missing")


def calibrate(workspace: Workspace) -> tuple[list[object], Callable[[], None]]:
    """A valid calibration, the old one or the new one."""

    def check() -> None:
        assert load(workspace.run).calibration is not None

    return ["calibrate", workspace.run, "--normal", workspace.root / "more"], check


def watch(workspace: Workspace) -> tuple[list[object], Callable[[], None]]:
    """No event twice, none open; the folder is watched as images arrive."""
    source, events = workspace.root / "arriving", workspace.root / "events.jsonl"
    source.mkdir()
    for path in sorted((workspace.root / "test").rglob("*.png")):
        shutil.copyfile(path, source / f"{path.parent.name}{path.name}")

    def check() -> None:
        lines = [json.loads(line)["event"] for line in events.read_text().splitlines()] if events.exists() else []
        ids = [line["id"] for line in lines]
        assert len(ids) == len(set(ids)), "an event was delivered twice"
        assert all(line["state"] == "closed" for line in lines)

    out = workspace.root / "watching"
    return ["watch", workspace.run, source, "--sink", f"jsonl:{events}", "--out", out, "--min-duration", "0s"], check


VERBS = {"fit": fit, "evaluate": evaluate, "predict": predict, "calibrate": calibrate, "watch": watch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", help=f"any of {list(VERBS)}; default: all")
    parser.add_argument("--count", type=int, default=50, help="kills of each verb")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    for name in options.verbs or VERBS:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder))
            arguments, check = VERBS[name](workspace)
            whole_s = 10.0 if name == "watch" else workspace.finish(*arguments)
            for _ in range(options.count):
                workspace.kill(chance.uniform(0.2, 1.0) * whole_s, *arguments)
                check()
            if name != "watch":
                workspace.finish(*arguments)
                check()
        print(f"{name}: {options.count} kills within {whole_s:.1f} s, nothing lost, nothing doubled", flush=True)


if __name__ == "__main__":
    main()
