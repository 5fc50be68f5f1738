"""MemAE on footage: trained within a time, then scored with several hops, with and without memory, as Markdown.

    python benchmarks/memae_footage.py --data AVENUE [--limit 30min] [--hops 1 8] [-- fit options, such as --size 96]
    python benchmarks/memae_footage.py --data UPCAM --hops 8 -- --encoder csn_r50 --size 96 --memory-size 500

Each row is one bundle scored with one hop: a clip every so many frames, the scores of a frame averaged over the clips
that it is in. `ms a frame` is all of evaluation, decoding included; `of hop 1` its share of what hop 1 takes. Below
stands what a clip costs each network: its parameters, how many of them learned, multiply-adds, and the time of one clip
of a batch of eight, scored as it is in use, the shortest of three. The runs lie in --out, ready
for `offnormal compare`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from offnormal.backbones.base import dry_run
from offnormal.backbones.video.cost import multiply_adds
from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.config.score import EvaluateConfig
from offnormal.data.dataset import Dataset
from offnormal.data.open import open_datasets
from offnormal.detectors.memae import MemAE
from offnormal.verbs.evaluate import evaluate_run

SMALL = ("--size", "96", "--width", "32", "--memory-size", "500")
_BATCH = 8  # clips
METRICS = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER")


def fit(data: Path, out: Path, options: list[str]) -> Path:
    """The run folder of a new fit."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert run(["fit", "memae", "--form", "video", "--data", str(data), "--out", str(out), "--json", *options]) == 0
    return Path(json.loads(output.getvalue())["run"])


def without_memory(options: list[str]) -> list[str]:
    """Options of a fit with that of the memory put to 0."""
    before = options.index("--memory-size") if "--memory-size" in options else len(options)
    return [*options[:before], *options[before + 2 :], "--memory-size", "0"]


def rows(run_folder: Path, dataset: Dataset, hops: list[int], config: EvaluateConfig) -> list[str]:
    """A row for each hop."""
    rows_of_hops: list[str] = []
    first = None
    for hop in hops:
        bundle = load(run_folder)
        bundle.detector.input = replace(bundle.detector.input, hop=hop)
        result, _ = evaluate_run(bundle, dataset, config, out=run_folder.parent / f"{run_folder.name}-hop{hop}")
        each = result.seconds_per_unit
        assert each is not None
        first = first or each
        cells = " | ".join(f"{result.metrics[name]:.3f}" if name in result.metrics else "" for name in METRICS)
        rows_of_hops.append(f"{hop} | {cells} | {1e3 * each:.1f} | {each / first:.2f}")
    return rows_of_hops


@torch.inference_mode()
def cost(run_folder: Path) -> str:
    """Of one clip."""
    bundle = load(run_folder)
    detector, parameters = bundle.detector, bundle.card["training"]["parameters"]
    assert isinstance(detector, MemAE)
    spec = detector.input
    shape = (spec.channels, spec.frames, *spec.size)
    macs = multiply_adds(lambda: dry_run(detector.net, detector.net, (1, *shape)))
    clips, seconds = torch.rand(_BATCH, *shape), []
    for _ in range(4):  # the first warms up
        start = time.perf_counter()
        detector(clips)
        seconds.append(time.perf_counter() - start)
    millions = " | ".join(f"{parameters[what] / 1e6:.1f}" for what in ("total", "learning"))
    size = " x ".join(map(str, shape))
    return (
        f"{detector.options.encoder} | {size} | {millions} | {macs / 1e9:.1f} | {1e3 * min(seconds[1:]) / _BATCH:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/memae-footage"))
    parser.add_argument("--limit", default="30min", help="time to train, each with and without memory")
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--without", action="store_true", help="also without memory")
    parser.add_argument("options", nargs="*", help="of `offnormal fit memae`, after --")
    args = parser.parse_args()
    (dataset,) = open_datasets(args.data)
    if not dataset.is_video:
        raise SystemExit(f"{args.data} holds no videos")
    print(f"| | hop | {' | '.join(METRICS)} | ms a frame | of hop {args.hops[0]} |")
    print("|---" * (len(METRICS) + 4) + "|", flush=True)
    options = ["--max-time", args.limit, *(args.options or SMALL)]
    costs = []
    for name in ("memory", "no memory") if args.without else ("memory",):
        run_folder = fit(args.data, args.out, options if name == "memory" else without_memory(options))
        for row in rows(run_folder, dataset, args.hops, EvaluateConfig(batch_size=_BATCH, cache="off")):
            print(f"| {name} | {row} |", flush=True)
        costs.append(f"| {name} | {cost(run_folder)} |")
    print("\n| | encoder | clip | parameters (M) | learned (M) | GMAC a clip | ms a clip |")
    print("\n".join(["|---|---|---|---|---|---|---|", *costs]))


if __name__ == "__main__":
    main()
