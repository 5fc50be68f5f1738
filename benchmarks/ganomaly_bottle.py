"""GANomaly on a dataset in MVTec's form, both scores over several seeds at one fixed step, as Markdown.

    python benchmarks/ganomaly_bottle.py --data bottle [--seeds 0 1 2] [--steps 600] [-- fit options]

The weights of the last step are taken (`--keep last`), never the best on the test pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.data.loaders import ImageLoader
from offnormal.data.open import open_datasets
from offnormal.metrics.image import auroc
from offnormal.scoring import Scorer, concatenate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--steps", default="600")
    parser.add_argument("--size", default="64")
    parser.add_argument("options", nargs="*", help="of `offnormal fit ganomaly`, after --")
    args = parser.parse_args()
    (dataset,) = open_datasets(args.data)
    labels = np.array([sample.label for sample in dataset.test])
    print("| seed | latent | contextual | taken | fit (s) |\n|---|---|---|---|---|", flush=True)
    rows = []
    for seed in args.seeds:
        fixed = ["--seed", seed, "--steps", args.steps, "--size", args.size, "--keep", "last"]
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                code = run(["fit", "ganomaly", "--data", str(args.data), "--out", out, *fixed, *args.options])
            seconds = time.perf_counter() - start
            assert code == 0
            detector = load(next(Path(out).glob("*/bundle"))).detector
        loader = ImageLoader(dataset.test, detector.input, batch_size=64)
        scores = concatenate(piece.scores for piece in Scorer(detector).score_batches(loader))
        terms = [auroc(labels, scores.terms[name].astype(np.float64)) for name in ("latent", "contextual")]
        rows.append(terms)
        score_term = detector.score_term
        print(f"| {seed} | {terms[0]:.3f} | {terms[1]:.3f} | {score_term} | {seconds:.0f} |", flush=True)
    cells = [f"{statistics.mean(column):.3f} ± {statistics.stdev(column):.3f}" for column in zip(*rows, strict=True)]
    print(f"| mean ± standard deviation | {' | '.join(cells)} | | |")


if __name__ == "__main__":
    main()
