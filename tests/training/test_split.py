import numpy as np
import pytest

from offnormal.errors import CalibrationError, DataError
from offnormal.training.split import keep_back, last_stretches, number_kept_back, split_pictures
from tests.items import image


def samples(*groups):
    return [image(f"{number}.png", group=group) for number, group in enumerate(groups)]


@pytest.mark.parametrize(
    ("total", "share", "wanted", "expected"),
    [(100, 0.2, 0, 20), (2, 0.2, 0, 1), (3, 0.5, 0, 2), (2, 0.5, 0, 1), (250, 0.2, 99, 99), (198, 0.2, 99, 99)],
)
def test_how_many_are_kept_back(total, share, wanted, expected):
    assert number_kept_back(total, share=share, wanted=wanted) == expected


def test_a_rate_that_would_take_more_than_half_is_refused_with_the_number_needed():
    with pytest.raises(CalibrationError, match="expected 198, got 197"):
        number_kept_back(197, share=0.2, wanted=99)


def test_one_picture_is_too_few():
    with pytest.raises(DataError, match="at least 2"):
        number_kept_back(1, share=0.2, wanted=0)


def test_pictures_without_groups_are_kept_back_one_by_one_at_random():
    given = samples(*[None] * 20)
    found = split_pictures(given, 4, seed=0)
    assert [len(part) for part in found] == [16, 4]
    assert {s.address for part in found for s in part} == {f"{n}.png" for n in range(20)}
    assert found == split_pictures(given, 4, seed=0)
    assert found != split_pictures(given, 4, seed=1)


def test_whole_groups_are_kept_back():
    given = samples(*"aaabbbcccdddeee")
    for seed in range(10):
        learned, held = split_pictures(given, 3, seed=seed)
        assert len(held) == 3
        assert {s.group for s in learned}.isdisjoint(s.group for s in held)


def test_one_group_is_split_with_a_warning(caplog):
    learned, held = split_pictures(samples(*"aaaaa"), 1, seed=0)
    assert (len(learned), len(held)) == (4, 1)
    assert "one group (a)" in caplog.text


def test_groups_of_unlike_sizes_give_about_as_many_as_asked_for_and_never_all():
    rng = np.random.default_rng(0)
    for trial in range(200):
        sizes = {f"g{i}": int(n) for i, n in enumerate(rng.integers(1, 40, rng.integers(2, 9)))}
        count = int(rng.integers(1, sum(sizes.values())))
        kept = keep_back(sizes, count, seed=trial)
        assert 0 < len(kept) < len(sizes)
        held = sum(sizes[group] for group in kept)
        if len(kept) < len(sizes) - 1:
            assert count <= held < count + min(size for group, size in sizes.items() if group in kept) + 40


def test_of_a_single_video_the_end_is_kept_back():
    stretches = [f"v {n}/10" for n in range(1, 11)]
    assert last_stretches(stretches, 1000, 200) == {"v 9/10", "v 10/10"}
    assert last_stretches(stretches, 1000, 201) == {"v 8/10", "v 9/10", "v 10/10"}
    assert last_stretches(stretches, 1000, 1) == {"v 10/10"}
    assert len(last_stretches(stretches, 10, 10)) == 9
