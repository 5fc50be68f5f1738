"""MemAE on MNIST, each digit the normal one in turn, with and without memory, through the public verbs, as Markdown.

    python benchmarks/memae_mnist.py --data MNIST [--digits 0 1 2] [-- fit options, such as --epochs 100]

Where only the test file is there, two of three pictures of the normal digit are learned from; the third and all other
digits are tested on. The paper learns from the full training set (0.975). Options are those of `offnormal fit memae`;
the memory columns are image_AUROC with the paper's query, the whole code, and with one query a position.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

from offnormal.cli.main import run

QUICK = ("--batch-size", "16", "--epochs", "60", "--hold-out", "0.1")
COLUMNS = {
    "memory": (),
    "memory, per position": ("--query", "position"),
    "no memory": ("--memory-size", "0"),
}


def measure(data: Path, digit: str, options: list[str]) -> tuple[float, float]:
    """image_AUROC, and seconds that the fit took."""
    chosen = ["--data", str(data), "--layout", "mnist", "--normal-class", digit]
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            assert run(["fit", "memae", *chosen, "--form", "mnist", "--out", out, "--json", *options]) == 0
        seconds = time.perf_counter() - start
        fit, output = json.loads(output.getvalue()), io.StringIO()
        with contextlib.redirect_stdout(output):
            assert run(["evaluate", fit["bundle"], *chosen, "--json"]) == 0
    return json.loads(output.getvalue())["metrics"]["image_AUROC"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--digits", nargs="+", default=[str(digit) for digit in range(10)])
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="COLUMN")
    parser.add_argument("options", nargs="*", help="of `offnormal fit memae`, after --")
    args = parser.parse_args()
    print(f"| digit | {' | '.join(f'{name} | fit (s)' for name in args.columns)} |")
    print("|---" * (2 * len(args.columns) + 1) + "|", flush=True)
    rows = []
    for digit in args.digits:
        figures = [measure(args.data, digit, [*(args.options or QUICK), *COLUMNS[name]]) for name in args.columns]
        rows.append(figures)
        print(f"| {digit} | {' | '.join(f'{auroc:.3f} | {seconds:.0f}' for auroc, seconds in figures)} |", flush=True)
    means = [
        tuple(statistics.mean(values) for values in zip(*column, strict=True)) for column in zip(*rows, strict=True)
    ]
    print(f"| mean | {' | '.join(f'**{auroc:.3f}** | {seconds:.0f}' for auroc, seconds in means)} |")


if __name__ == "__main__":
    main()
