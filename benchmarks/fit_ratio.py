"""Seconds of a whole fit, files to calibrated bundle, over those of decoding and the plain backbone alone.

    python benchmarks/fit_ratio.py --data DATA [--rounds 3] [-- fit options, such as --grid-stride 4]

The plain backbone is timm's own network as a user gets it: eager, default memory format, batches of 32, the part of
it that is used. Fit and yardstick take turns in one process in which everything is imported already.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.data.loaders import ImageLoader
from offnormal.data.open import open_datasets

_BATCH = 32


@torch.inference_mode()
def yardstick(reference: torch.nn.Module, loader: ImageLoader) -> tuple[float, float]:
    """Seconds to decode every picture, and seconds of the plain backbone over them."""
    start = time.perf_counter()
    batches = [batch.pixels for batch in loader]
    decoded = time.perf_counter()
    for pixels in batches:
        reference(torch.from_numpy(pixels))
    return decoded - start, time.perf_counter() - decoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="of `offnormal fit padim`, after --")
    args = parser.parse_args()

    (dataset,) = open_datasets(args.data)
    rows = []
    for number in range(args.rounds + 1):  # the first warms up
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                code = run(["fit", "padim", "--data", str(args.data), "--out", out, *args.options])
            fitted = time.perf_counter() - start
            assert code == 0
            detector = load(next(Path(out).glob("*/bundle"))).detector
        reference = detector.reference()
        assert reference is not None
        decoding, plain = yardstick(reference, ImageLoader(dataset.train, detector.input, batch_size=_BATCH))
        if number:
            rows.append((fitted, decoding, plain))
            print(f"fit {fitted:6.2f} s   decoding {decoding:5.2f} s + plain backbone {plain:6.2f} s", flush=True)
    ratio = statistics.median(fitted / (decoding + plain) for fitted, decoding, plain in rows)
    print(f"{len(dataset.train)} images of {detector.input.size}: fit / (decoding + plain backbone) = {ratio:.2f}")


if __name__ == "__main__":
    main()
