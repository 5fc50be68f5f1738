"""MemAE: from normal footage to the frames that its memory cannot reconstruct, in one script.

    python examples/memae.py yard/ new/*.mp4

The first argument is a dataset of videos in a layout from `offnormal list layouts` (or a folder of normal videos); the
others are videos to score. Images work the same way. Without arguments, the script generates a small inspection set,
which takes a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import offnormal as on
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.scoring import Scorer, score_items
from offnormal.types import Item, Unit


def main(arguments: list[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="offnormal-"))
    if arguments:
        data = Path(arguments[0])
    else:
        from offnormal.demo import generate

        data = work / "flanges"
        generate(data, train=60, test_good=10, per_defect=3)

    # An autoencoder whose decoder gets only what a memory of normal patterns recalls for the code. The form depends on
    # the data: clips of 16 gray frames, or images. A narrow network at 64 px is fast; see docs/memae.md.
    run = on.fit("memae", data=data, size=64, width=16, memory_size=200, epochs=40, max_time="10min", out=work / "runs")
    detector = run.bundle.detector
    print(f"form {detector.options.form}, {run.bundle.calibration.explanation}")

    # How held-out normals use the memory: if many items are never recalled, the memory is too large.
    used = int((detector.usage > 1e-4).sum())
    print(f"{used} of {len(detector.usage)} items are recalled; weights up to {detector.net.shrink:.4f} are set to 0")

    # Videos: one score per frame, the mean over the clips that contain it. Higher = more anomalous.
    videos = [Item(address=path, name=Path(path).stem, is_video=True) for path in arguments[1:]]
    if videos:
        loader = open_loader(videos, detector.input, batch_size=4)
        for scores in score_items(Scorer(detector), loader, unit=Unit.FRAME):
            frame = int(np.nanargmax(scores.score))
            print(f"{scores.item.name}: frame {frame} has the highest of {len(scores.score)} scores")

    # Reconstruction error: the lower, the more normal.
    (dataset,) = open_datasets(data)
    for batch in open_loader(dataset.test, detector.input, batch_size=4):
        with torch.inference_mode():
            pixels = torch.from_numpy(batch.pixels)
            error = (detector.reconstruct(pixels) - pixels).square().flatten(1).mean(1)
        for sample, value in zip(batch.samples, error.tolist(), strict=True):
            path = sample.item.path
            print(f"{path.parent.name}/{path.name}  label {sample.label}  mean squared error {value:.5f}")
        break

    # Metrics and a report, if the dataset has labeled test data.
    if dataset.test:
        result = on.evaluate(run.bundle, data=data)
        print("  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
        print(f"report: {run.path / 'report.html'}")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
