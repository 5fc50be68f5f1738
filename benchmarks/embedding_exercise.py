"""The sports exercise: embedders, frozen and with their last block unfrozen, on clips of some allowed activities.

    python benchmarks/embedding_exercise.py --work DIR [--data UCF] [--embedders r2plus1d_18 ...] [-- fit options]

Without --data clips are generated (benchmarks/action_clips.py): figures told apart by how they move. Every run goes
through the verbs fit, evaluate and, at the end, compare, on one split; runs are kept in DIR and not made again, so that
an interrupted benchmark goes on, with the same options. Published weights are taken where they can be had; --weights
NAME=FILE names a file, and an embedder without either has random ones, which the table says. What is written behind
-- goes to every fit, such as `-- --head knn --views 2`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from action_clips import write_tree

from offnormal.cli.main import run as run_verb


@dataclass(frozen=True, slots=True)
class Exercise:
    """How an embedder is used in the published exercise (action_video_autoencoder, configs/)."""

    unfreeze: tuple[str, ...]  # its last block
    finetune_epochs: int
    frames: int | None = None  # None: as the embedder was trained


EXERCISES = {
    "r2plus1d_18": Exercise(("layer4.1",), 12, frames=8),
    "slowfast_r50": Exercise(("blocks.4.multipathway_blocks.1",), 20),
    "timesformer_b": Exercise(("encoder.layer.11", "layernorm"), 10),
    "frames:efficientnet_lite0": Exercise(("blocks.6",), 10),  # not among them
}
OFFLINE = ("frames:efficientnet_lite0",)  # whose weights come with the package
SPLITS = {
    "train": "passed, train",
    "calibration": "passed, calibration",
    "test": "passed, test",
    "anomalous": "detected",
}


def offnormal(*words: str) -> None:
    """Run a verb; its results go to the terminal, an error ends the benchmark."""
    if code := run_verb(words):
        raise SystemExit(code)


def fitted(name: str, unfrozen: bool, args: argparse.Namespace, more: list[str]) -> Path:
    """The run of an embedder, made and evaluated unless it is there."""
    exercise = EXERCISES[name]
    out = args.work / name.replace(":", "_") / ("unfrozen" if unfrozen else "frozen")
    weights = dict(text.split("=", 1) for text in args.weights)
    chosen = weights.get(name) or (None if name in OFFLINE or args.published else "random")
    words = ["fit", "embedding_ae", "--data", str(args.data), "--out", str(out), "--embedder", name]
    words += ["--sampling", "uniform", "--split-seed", str(args.split_seed)]
    words += ["--views", str(args.views), "--batch-size", "8"]
    words += ["--weights", chosen] if chosen is not None else []
    words += ["--frames", str(exercise.frames)] if exercise.frames is not None else []
    if unfrozen:
        words += [word for name in exercise.unfreeze for word in ("--unfreeze", name)]
        words += ["--finetune-epochs", str(args.finetune_epochs or exercise.finetune_epochs)]
    words += more
    asked = out / "asked.json"
    if asked.is_file() and json.loads(asked.read_text()) != words:
        raise SystemExit(f"{out} was fitted with other options ({asked}): give another --work")
    if not (bundles := sorted(out.glob("*/bundle/card.json"))):
        out.mkdir(parents=True, exist_ok=True)
        asked.write_text(json.dumps(words))
        offnormal(*words)
        bundles = sorted(out.glob("*/bundle/card.json"))
    run = bundles[-1].parents[1]
    if not (run / "metrics.json").is_file():
        offnormal("evaluate", str(run), "--data", str(args.data))
    return run


def row(name: str, unfrozen: bool, run: Path, took: float) -> str:
    """A row of the table of the exercise, as Markdown."""
    metrics = json.loads((run / "metrics.json").read_text())
    card = json.loads((run / "bundle" / "card.json").read_text())
    rates = {row["split"]: row for row in metrics["splits"]}
    cells = [name, "last block" if unfrozen else "frozen", str(card["weights"][0].get("source") or "random")]
    cells.append(f"{metrics['calibration']['threshold']:.4g}" if metrics["calibration"] else "")
    cells.append(f"{metrics['metrics'].get('clip_AUROC', float('nan')):.4f}")
    for split in SPLITS:
        share = rates.get(split, {}).get("detected_share" if split == "anomalous" else "passed_share")
        cells.append("" if share is None else f"{share:.2f}")
    return f"| {' | '.join(cells)} | {took:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="class folders; default: generated clips")
    parser.add_argument("--embedders", nargs="+", choices=EXERCISES, default=list(EXERCISES), metavar="NAME")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--published", action="store_true", help="look for published weights, also by download")
    parser.add_argument("--only", choices=("frozen", "unfrozen"))
    parser.add_argument("--finetune-epochs", type=int, help="in which the last block learns; default: as published")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--clips", type=int, default=16, help="of each class, where they are generated")
    parser.add_argument("--split-seed", type=int, default=0)
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    args, more = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if args.data is None:
        args.data = args.work / "clips"
        if not args.data.is_dir():
            write_tree(args.data, clips=args.clips)
    lines, runs = [], []
    for name in args.embedders:
        for unfrozen in (False, True):
            if args.only is not None and args.only != ("unfrozen" if unfrozen else "frozen"):
                continue
            start = time.perf_counter()
            run = fitted(name, unfrozen, args, more)
            lines.append(row(name, unfrozen, run, time.perf_counter() - start))
            runs.append(run)
            print(lines[-1], flush=True)
    heads = ["embedder", "", "weights", "threshold", "clip_AUROC", *SPLITS.values(), "took (s)"]
    print("\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]))
    if len(runs) > 1:
        offnormal("compare", *map(str, runs), "--out", str(args.work / "comparison"))


if __name__ == "__main__":
    main()
