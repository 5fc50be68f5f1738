"""MNAD: from normal footage of a fixed camera to alarms and predicted frames, in one script.

    python examples/mnad.py yard/ new.mp4

The first argument is a dataset of videos in a layout from `offnormal list layouts` (or any folder of normal videos);
the others are videos to score. Without arguments, the script draws a small scene, which takes some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import offnormal as on
from offnormal.config.rules import RulesConfig
from offnormal.config.score import PredictConfig
from offnormal.data.loaders import open_loader
from offnormal.scoring import Scorer
from offnormal.types import Item
from offnormal.verbs.predict import Predictor


def draw(folder: Path, *, frames: int = 60, bounces: bool = False, seed: int = 0) -> Path:
    """Draw a ball that rolls from left to right, as a folder of frames; with `bounces`, it bounces once."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    for number in range(frames):
        center = 2.0 * number % 64
        height = 36 - 20 * (bounces and 30 <= number < 40)
        ball = np.hypot(x - center, y - height) < 5
        ground = 60 + 60 * (y > 40) + rng.normal(0, 3, y.shape)
        image = np.where(ball, 220, ground)[..., None] * np.array([1.0, 0.9, 0.7])
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


def main(arguments: list[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="offnormal-"))
    if arguments:
        data, videos = Path(arguments[0]), [Path(name) for name in arguments[1:]]
    else:
        data = work / "balls"
        for number in range(5):
            draw(data / "train" / f"{number}", seed=number)
        videos = [draw(work / "new" / "bouncing", bounces=True, seed=9)]

    # Four frames predict the fifth through a memory of ten normal patterns. A narrow network on small frames trains in
    # a minute or two on a CPU; see docs/mnad.md for better settings.
    run = on.fit("mnad", data=data, size=64, width=8, epochs=40, learning_rate=1e-3, fps=25, out=work / "runs")
    print(run.bundle.calibration.explanation)

    # One score per frame, higher = more anomalous, and an alarm when it is above the threshold for 0.1 s.
    items = [Item(address=str(path), name=path.name, is_video=True) for path in videos]
    config = PredictConfig(fps=25, rules=RulesConfig(min_duration=0.1))
    for prediction in Predictor(run.bundle, config).over(items):
        alarms = [row.alarm for row in prediction.alarms.alarms] if prediction.alarms is not None else []
        spans = ", ".join(f"{alarm.start}-{alarm.stop - 1}" for alarm in alarms)
        print(f"{prediction.item.name}: alarms at frames {spans or 'none'}; highest at frame {prediction.peak}")

    # The predicted frame next to the real frame.
    scorer = Scorer(run.bundle.detector)
    loader = open_loader(items, run.bundle.detector.input, batch_size=1)
    highest = max(scorer.score_batches(loader), key=lambda scored: scored.scores.score[0], default=None)
    if highest is not None:
        batch = next(b for b in loader if b.samples == highest.samples)
        pair = np.concatenate([batch.pixels[0, :, -1], scorer.reconstruct(batch.pixels)[0]], 2)
        Image.fromarray((pair.transpose(1, 2, 0) * 255).astype(np.uint8)).save(work / "expected.png")
        print(f"frame {highest.samples[0].frame} next to its prediction: {work / 'expected.png'}")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
