"""GANomaly: from a folder of normal images to scores and reconstructions, in one script.

    python examples/ganomaly.py bottle/ new/*.png

The first argument is a dataset in a layout from `offnormal list layouts` (or any folder of normal images); the others
are images to score. Without arguments, the script generates a small inspection set, which takes a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import offnormal as on
from offnormal.data.images import read_pixels, stack
from offnormal.data.resolve import resolve_items


def main(arguments: list[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="offnormal-"))
    if arguments:
        data, images = Path(arguments[0]), arguments[1:]
    else:
        from offnormal.demo import generate

        data = work / "flanges"
        generate(data, train=120, test_good=20, per_defect=5)
        images = [str(data / "test" / "*" / "00[01].png")]

    # A generator learns to reconstruct normal images, against a discriminator. Held-out normals select the best state
    # and the threshold. Squares of 32 px and few channels make it fast; see docs/ganomaly.md.
    run = on.fit("ganomaly", data=data, size=32, width=16, steps=300, out=work / "runs")
    detector = run.bundle.detector
    print(run.bundle.calibration.explanation)

    # A score has two terms, both higher = more anomalous: the distance between the latent vectors of an image and its
    # reconstruction, and the difference between the two images.
    for path in [item.path for item in resolve_items(images)]:
        pixels = torch.from_numpy(stack([read_pixels(path, detector.input)]))
        with torch.inference_mode():
            output = detector(pixels)
            reconstruction = detector.reconstruct(pixels)
        verdict = run.bundle.calibration.verdict(float(output.score))
        terms = "  ".join(f"{name} {float(value):.4f}" for name, value in output.terms.items())
        print(f"{path.parent.name}/{path.name}  {terms}  {'anomalous' if verdict.anomalous else 'normal'}")
        pair = torch.cat([pixels, reconstruction], dim=3)[0].permute(1, 2, 0)
        canvas = Image.fromarray((pair.numpy() * 255).round().astype(np.uint8))
        canvas.resize((512, 256), Image.Resampling.NEAREST).save(work / f"{path.parent.name}_{path.stem}.png")
    print(f"images next to their reconstructions: {work}")

    # Metrics and a report, when the dataset has labeled test images.
    if (data / "test").is_dir():
        result = on.evaluate(run.bundle, data=data)
        print("  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
        print(f"report: {run.path / 'report.html'}")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:])
