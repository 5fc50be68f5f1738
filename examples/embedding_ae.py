"""Embeddings of clips: from normal footage to scores by four heads, in one script.

    python examples/embedding_ae.py yard/ new/*.mp4

The first argument is a dataset of videos in a layout from `offnormal list layouts` (or a folder of normal videos); the
others are videos to score. Without arguments, the script draws a few moving discs, which takes a minute.
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import offnormal as on
from offnormal.data.loaders import open_loader
from offnormal.scoring import Scorer, score_items
from offnormal.types import Item, Unit


def draw(path: Path, seed: int, *, jumps: bool = False) -> Path:
    """Draw a disc that swings from side to side; with `jumps`, it jumps up and down in the middle of the video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:96, :128]
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(60):
            across, up = 64 + 40 * np.sin(i / 6 + seed), 30 * np.sin(i) if jumps and 25 <= i < 40 else 0
            image = 80 + 10 * np.sin(x / 9) + noise.normal(0, 3, x.shape)
            image[np.hypot(x - across, y - 55 + up) < 12] = 200
            pixels = np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


def main(arguments: list[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="offnormal-"))
    data, new = (Path(arguments[0]), [Path(path) for path in arguments[1:]]) if arguments else (work / "train", [])
    if not arguments:
        for seed in range(5):
            draw(data / f"{seed}.mp4", seed)
        new = [draw(work / "new" / "calm.mp4", 7), draw(work / "new" / "jumps.mp4", 8, jumps=True)]

    # Each clip of 8 frames is embedded once as a vector; training the autoencoder on vectors then takes seconds.
    # Other embedders, such as "r2plus1d_18" or "slowfast_r50", detect motion better, but need downloaded weights.
    run = on.fit("embedding_ae", data=data, size=96, out=work / "runs")
    detector = run.bundle.detector
    print(f"{detector.embedder.card.embedding} numbers per clip, {run.bundle.calibration.explanation}")

    # One score per frame, the mean over the clips that contain it; and the scores of each head on the same embeddings.
    videos = [Item(address=str(path), name=path.stem, is_video=True) for path in new]
    loader = open_loader(videos, detector.input, batch_size=4)
    for scores in score_items(Scorer(detector), loader, unit=Unit.FRAME):
        name, score = scores.item.name, scores.score
        above = float((score > run.bundle.calibration.threshold).mean())
        print(f"{name}: highest score {np.nanmax(score):.2f} at frame {np.nanargmax(score)}, {above:.0%} anomalous")
        for head, series in scores.terms.items():
            print(f"    {head:<12} median {np.nanmedian(series):6.2f}, highest {np.nanmax(series):6.2f}")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
