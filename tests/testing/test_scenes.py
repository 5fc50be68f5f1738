import numpy as np

from offnormal.testing.scenes import draw_part


def test_a_part_without_shift_is_fixed_and_a_defect_is_masked():
    still = [draw_part(np.random.default_rng(seed), shift=0)[0][..., 0] > 125 for seed in range(4)]
    moved = [draw_part(np.random.default_rng(seed), shift=3)[0][..., 0] > 125 for seed in range(4)]
    assert all(np.array_equal(image, still[0]) for image in still)
    assert not all(np.array_equal(image, moved[0]) for image in moved)
    image, mask = draw_part(np.random.default_rng(0), defect=True)
    assert image[mask].mean(0)[1] > 150 > image[mask].mean(0)[0]
