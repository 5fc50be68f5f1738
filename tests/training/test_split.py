import numpy as np
import pytest

from offnormal.errors import CalibrationError, DataError
from offnormal.training.split import choose_held_out, choose_last_stretches, count_held_out, split_images
from tests.items import image


def samples(*groups):
    return [image(f"{number}.png", group=group) for number, group in enumerate(groups)]


@pytest.mark.parametrize(
    ("total", "share", "needed", "expected"),
    [(100, 0.2, 0, 20), (2, 0.2, 0, 1), (3, 0.5, 0, 2), (2, 0.5, 0, 1), (250, 0.2, 99, 99), (198, 0.2, 99, 99)],
)
def test_number_of_held_out_samples(total, share, needed, expected):
    assert count_held_out(total, share=share, needed=needed) == expected


def test_a_rate_that_needs_more_than_half_is_refused_with_the_needed_number():
    with pytest.raises(CalibrationError, match="expected 198, found 197"):
        count_held_out(197, share=0.2, needed=99)


def test_one_image_is_too_few():
    with pytest.raises(DataError, match="at least 2"):
        count_held_out(1, share=0.2, needed=0)


def test_images_without_groups_are_held_out_individually_at_random():
    items = samples(*[None] * 20)
    split = split_images(items, 4, seed=0)
    assert [len(part) for part in split] == [16, 4]
    assert {s.address for part in split for s in part} == {f"{n}.png" for n in range(20)}
    assert split == split_images(items, 4, seed=0)
    assert split != split_images(items, 4, seed=1)


def test_whole_groups_are_held_out():
    items = samples(*"aaabbbcccdddeee")
    for seed in range(10):
        training, held_out = split_images(items, 3, seed=seed)
        assert len(held_out) == 3
        assert {s.group for s in training}.isdisjoint(s.group for s in held_out)


def test_one_group_is_split_with_a_warning(caplog):
    training, held_out = split_images(samples(*"aaaaa"), 1, seed=0)
    assert (len(training), len(held_out)) == (4, 1)
    assert "one group (a)" in caplog.text


def test_groups_of_different_sizes_give_about_the_requested_number_but_never_all():
    rng = np.random.default_rng(0)
    for trial in range(200):
        sizes = {f"g{i}": int(n) for i, n in enumerate(rng.integers(1, 40, rng.integers(2, 9)))}
        count = int(rng.integers(1, sum(sizes.values())))
        chosen = choose_held_out(sizes, count, seed=trial)
        assert 0 < len(chosen) < len(sizes)
        held_out = sum(sizes[group] for group in chosen)
        if len(chosen) < len(sizes) - 1:
            assert count <= held_out < count + min(size for group, size in sizes.items() if group in chosen) + 40


def test_the_end_of_a_single_video_is_held_out():
    stretches = [f"v {n}/10" for n in range(1, 11)]
    assert choose_last_stretches(stretches, 1000, 200) == {"v 9/10", "v 10/10"}
    assert choose_last_stretches(stretches, 1000, 201) == {"v 8/10", "v 9/10", "v 10/10"}
    assert choose_last_stretches(stretches, 1000, 1) == {"v 10/10"}
    assert len(choose_last_stretches(stretches, 10, 10)) == 9
