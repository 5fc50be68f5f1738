import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.config.layers import build
from offnormal.detectors.parts.maps import pool
from offnormal.errors import ConfigError
from offnormal.events.zones import Zone, _kept_pixels, conditions_hash, pool_pixels, zoned_pooling
from offnormal.types import InputSpec, Pooling, Resize, Scores

STRETCH = InputSpec(size=(20, 30), resize=Resize(policy="stretch"))
LEFT = Zone(points=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])


def naive_inside(zone, x, y):
    """Whether a point lies in a polygon, edge by edge."""
    odd = False
    for i, (x0, y0) in enumerate(zone.points):
        x1, y1 = zone.points[(i + 1) % len(zone.points)]
        if (y0 > y) != (y1 > y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x:
            odd = not odd
    return odd


corner = st.tuples(st.integers(0, 7).map(lambda n: n / 7), st.integers(0, 7).map(lambda n: n / 7))


@settings(max_examples=60, deadline=None)
@given(st.lists(corner, min_size=3, max_size=7, unique=True), st.sampled_from(["include", "exclude"]))
def test_pixels_are_kept_as_a_loop_over_edges_says(points, kind):
    zone = Zone(points=points, kind=kind)
    kept = _kept_pixels([zone], STRETCH, (200, 300))
    for row in range(20):
        for column in range(30):
            inside = naive_inside(zone, (column + 0.5) / 30, (row + 0.5) / 20)
            assert kept[row, column] == (inside == (kind == "include"))


def test_a_zone_lies_where_it_lies_in_the_picture_whatever_the_resize():
    square = InputSpec(size=(64, 64), resize=Resize(policy="letterbox"))
    kept = _kept_pixels([LEFT], square, (100, 200))
    assert kept[16:48, :32].all() and kept.sum() == 32 * 32, "nothing of the bars above and below"
    assert _kept_pixels([], square, (100, 200)).sum() == 32 * 64
    cropped = InputSpec(size=(64, 64), resize=Resize(policy="short_side", short_side=64))
    assert _kept_pixels([LEFT], cropped, (100, 200))[:, :32].all(), "the middle of the picture, left half"
    assert not _kept_pixels([LEFT], cropped, (100, 200))[:, 32:].any()


def test_exclude_wins():
    inner = Zone(points=[(0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)], kind="exclude")
    kept = _kept_pixels([LEFT, inner], STRETCH, (20, 30))
    assert kept[10:, :15].all() and kept.sum() == 150
    assert _kept_pixels([inner], STRETCH, (20, 30)).sum() == 450


@pytest.mark.parametrize("pooling", [Pooling("max"), Pooling("mean"), Pooling("top", 0.07), Pooling("top", 1e-9)])
def test_pooling_is_that_of_the_detectors(pooling):
    maps = np.random.default_rng(0).normal(size=(5, 12, 14)).astype(np.float32)
    expected = pool(torch.from_numpy(maps), pooling.method, pooling.share).numpy()
    np.testing.assert_allclose(pool_pixels(maps.reshape(5, -1), pooling), expected, rtol=1e-5, atol=1e-7)


def test_scores_come_from_the_zone_alone():
    maps = np.random.default_rng(0).random((4, 20, 30)).astype(np.float32)
    maps[:, 3, 25] = 9.0
    scores = Scores(maps.max((1, 2)), maps, {"part": np.arange(4.0)})
    zoned = zoned_pooling([LEFT], spec=STRETCH, size=(20, 30), pooling=Pooling("max"), detector="padim")
    found = zoned.rescore(scores)
    np.testing.assert_array_equal(found.score, maps[:, :, :15].max((1, 2)))
    assert found.map is not None and found.map.max() < 1 and found.terms is scores.terms
    np.testing.assert_array_equal(found.map[:, :, :15], maps[:, :, :15])
    with pytest.raises(ConfigError, match=r"zones made for maps of \(20, 30\), got \(5, 5\)"):
        zoned.rescore(Scores(np.zeros(1), np.zeros((1, 5, 5))))


def test_detectors_whose_score_is_not_pooled_refuse_zones():
    with pytest.raises(ConfigError, match=r"zones with mnad: its score does not come out of its map.*such as padim"):
        zoned_pooling([LEFT], spec=STRETCH, size=(20, 30), pooling=None, detector="mnad")


def test_something_must_be_left():
    tiny = Zone(points=[(0.5, 0.5), (0.501, 0.5), (0.5, 0.501)])
    more = {"spec": STRETCH, "size": (20, 30), "pooling": Pooling("max"), "detector": "padim"}
    with pytest.raises(ConfigError, match=r"1 zones leave no pixel of the detector's map \(20 x 30\)"):
        zoned_pooling([tiny], **more)
    with pytest.raises(ConfigError, match="leave no pixel"):
        zoned_pooling([LEFT], **more, ignored=_kept_pixels([LEFT], STRETCH, (20, 30)))


def test_zones_as_text_and_in_files():
    assert Zone.parse("0,0 0.5,0 0.5,1 0,1") == LEFT
    assert Zone.parse("exclude:0,0 1,0 1,1").kind == "exclude"
    for text in ("", "0,0 1,1", "0,0 1,0 1,2", "0,0 1,0 1", "hide:0,0 1,0 1,1", "0,0 0,0 0,0"):
        with pytest.raises(ConfigError, match="expected 3 points or more"):
            Zone.parse(text)
    with pytest.raises(ConfigError, match="unknown key 'kinds': did you mean 'kind'"):
        build(Zone, {"points": [[0, 0], [1, 0], [1, 1]], "kinds": "exclude"}, environment={})


def test_the_conditions_of_a_calibration():
    assert conditions_hash([]) is None
    other = Zone.parse("exclude:0,0 1,0 1,1")
    assert conditions_hash([LEFT, other]) == conditions_hash([other, LEFT]) != conditions_hash([LEFT])
    assert conditions_hash([LEFT]) == conditions_hash([Zone(points=LEFT.points, name="door")])
    assert conditions_hash([LEFT], [[[0, 0], [1, 1]]]) != conditions_hash([LEFT])
