"""GANomaly on MNIST, each digit the normal one in turn: image_AUROC of the score and of its terms, as Markdown.

    python benchmarks/ganomaly_mnist.py --data MNIST [--digits 0 1 2] [-- fit options, such as --width 64]

Where only the test file is there, two of three pictures of the normal digit are learned from; the third and all other
digits are tested on. Options are those of `offnormal fit ganomaly`.
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
from offnormal.data.class_split import ClassChoice
from offnormal.data.loaders import ImageLoader
from offnormal.data.open import open_datasets
from offnormal.metrics.image import auroc
from offnormal.scoring import Scorer, concatenate

TERMS = ("latent", "contextual")
SMALL = ("--size", "32", "--channels", "1", "--width", "32", "--steps", "450")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--digits", nargs="+", default=[str(digit) for digit in range(10)])
    parser.add_argument("options", nargs="*", help="of `offnormal fit ganomaly`, after --")
    args = parser.parse_args()
    print("| digit | score | taken | latent | contextual | fit (s) |\n|---|---|---|---|---|---|", flush=True)
    rows = []
    for digit in args.digits:
        (dataset,) = open_datasets(args.data, layout="mnist", classes=ClassChoice(normal=(digit,)))
        with tempfile.TemporaryDirectory() as out:
            chosen = ["--data", str(args.data), "--layout", "mnist", "--normal-class", digit, "--out", out]
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                code = run(["fit", "ganomaly", *chosen, *(args.options or SMALL)])
            seconds = time.perf_counter() - start
            assert code == 0
            detector = load(next(Path(out).glob("*/bundle"))).detector
        loader = ImageLoader(dataset.test, detector.input, batch_size=256)
        scores = concatenate(piece.scores for piece in Scorer(detector).score_batches(loader))
        labels = np.array([sample.label for sample in dataset.test])
        columns = [auroc(labels, s.astype(np.float64)) for s in (scores.score, *(scores.terms[k] for k in TERMS))]
        rows.append((*columns, seconds))
        cells = f"{columns[0]:.3f} | {detector.score_term} | {columns[1]:.3f} | {columns[2]:.3f}"
        print(f"| {digit} | {cells} | {seconds:.0f} |", flush=True)
    score, latent, contextual, seconds = (statistics.mean(column) for column in zip(*rows, strict=True))
    print(f"| mean | **{score:.3f}** | | {latent:.3f} | {contextual:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
