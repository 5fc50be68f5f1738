from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from offnormal.demo.damage import DEFECTS
from offnormal.demo.render import render

SIZE = 96
SEVERITIES = (0.0, 0.5, 1.0)
NEAR = np.ones((3, 3), dtype=bool)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_seed_determines_the_image(defect):
    first = render(SIZE, (0, 1, 2), defect)
    render(SIZE, (0, 1, 3), "stain")
    second = render(SIZE, (0, 1, 2), defect)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)


def test_every_part_of_the_seed_counts():
    base = render(SIZE, (0, 1, 2)).image
    for seed in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert (render(SIZE, seed).image != base).mean() > 0.5


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_the_mask_is_where_the_image_changed(defect, severity, number):
    damaged, sound = render(SIZE, (7, 0, number), defect, severity), render(SIZE, (7, 0, number))
    changed = (damaged.image != sound.image).any(axis=-1)
    assert not (changed & ~binary_dilation(damaged.mask, NEAR, iterations=3)).any()
    assert changed[damaged.mask].mean() > 0.7


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_mask_covers_nearly_all_of_the_change(defect):
    inside = total = 0.0
    for number in range(4):
        damaged, sound = (render(200, (7, 0, number), kind, 0.9) for kind in (defect, None))
        change = np.abs(damaged.image.astype(float) - sound.image).sum(axis=-1)
        inside, total = inside + change[damaged.mask].sum(), total + change.sum()
    assert inside > 0.9 * total


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("defect", DEFECTS)
def test_mask_is_never_empty_and_on_the_part(defect, number):
    rows, cols = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    part = np.hypot(rows, cols) < 0.40 * SIZE * 1.015 + 3 * SIZE / 320 * 1.5 + 1
    for severity in SEVERITIES:
        mask = render(SIZE, (3, 5, number), defect, severity).mask
        assert mask.any()
        assert not mask[~part].any()


@pytest.mark.parametrize("defect", DEFECTS)
def test_obvious_defects_change_more_than_subtle_ones(defect):
    def change(severity):
        total = 0.0
        for number in range(6):
            damaged, sound = render(SIZE, (2, 4, number), defect, severity), render(SIZE, (2, 4, number))
            total += np.abs(damaged.image.astype(float) - sound.image).sum()
        return total

    assert change(1.0) > 1.5 * change(0.0)


def test_normal_parts_have_empty_masks_and_all_differ():
    samples = [render(SIZE, (0, 0, number)) for number in range(8)]
    assert not any(sample.mask.any() for sample in samples)
    images = np.stack([sample.image.astype(float) for sample in samples])
    brightness = images.mean(axis=(1, 2, 3))
    warmth = images[..., 0].mean(axis=(1, 2)) - images[..., 2].mean(axis=(1, 2))
    assert brightness.std() > 0.8
    assert warmth.std() > 0.3
    for i in range(8):
        for j in range(i):
            assert np.abs(images[i] - images[j]).mean() > 3


def test_parts_have_a_fixed_position():
    images = np.stack([render(SIZE, (0, 0, number)).image.astype(float) for number in range(8)])
    mean = images.mean(axis=0)
    for image in images:
        assert np.corrcoef(image.ravel(), mean.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("size", [64, 97])
def test_other_sizes_are_rendered(size):
    sample = render(size, (0, 0, 0), "missing_piece", 1.0)
    assert sample.image.shape == (size, size, 3)
    assert sample.mask.shape == (size, size)
    assert sample.mask.any()
