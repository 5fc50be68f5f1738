"""Images of every depth from fit to the report."""

import numpy as np
import pytest

import offnormal
from tests.sources.deep_files import write_png, write_tiff

RNG = np.random.default_rng(0)


def part(bright, dtype, channels=3):
    """A gray part with noise of +-8 of 4095; a defect is 40 brighter, which 8 bits of 16 cannot show."""
    values = 1000 + RNG.normal(0, 8, (32, 32, channels))
    values[:2, :2] = 3900  # a reflection: the images use 12 bits
    if bright:
        values[10:20, 10:20] += 40
    return values.round().astype(dtype)


def write_set(root, write, suffix, change=lambda values: values, dtype="u2"):
    for folder, count, bright in (("train/good", 8, False), ("test/good", 6, False), ("test/bad", 6, True)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            write(root / folder / f"{number}{suffix}", change(part(bright, dtype)))
    return root


def fit(root, tmp_path):
    return offnormal.fit("pixel_gaussian", normal=root / "train/good", size="32x32", out=tmp_path / "runs", workers=1)


@pytest.mark.parametrize(
    ("write", "suffix", "change", "dtype", "levels"),
    [
        (write_png, ".png", lambda v: v, "u2", (0, 4095)),
        (write_tiff, ".tif", lambda v: v, "u2", (0, 4095)),
        (write_tiff, ".tif", lambda v: v / np.float32(4095), "f4", (0, 1)),
        (write_tiff, ".tif", lambda v: v[..., 0] - 2000, "i2", None),
    ],
)
def test_a_faint_defect_in_deep_images_is_detected(tmp_path, write, suffix, change, dtype, levels):
    root = write_set(tmp_path / "data", write, suffix, change, dtype)
    run = fit(root, tmp_path)
    bundle = run.bundle
    assert levels is None or bundle.input.levels == levels
    evaluation = offnormal.evaluate(bundle, root)
    assert evaluation.metrics["image_AUROC"] == 1.0
