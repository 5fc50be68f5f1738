import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.config.layers import build
from offnormal.detectors.parts.maps import pool
from offnormal.errors import ConfigError
from offnormal.events.zones import Zone, _included_pixels, hash_setup, pool_pixels, zoned_pooling
from offnormal.types import InputSpec, Pooling, Resize, Scores

STRETCH = InputSpec(size=(20, 30), resize=Resize(policy="stretch"))
LEFT = Zone(points=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])


def naive_inside(zone, x, y):
    """Whether a point is in a polygon, edge by edge."""
    odd = False
    for i, (x0, y0) in enumerate(zone.points):
        x1, y1 = zone.points[(i + 1) % len(zone.points)]
        if (y0 > y) != (y1 > y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x:
            odd = not odd
    return odd


corner = st.tuples(st.integers(0, 7).map(lambda n: n / 7), st.integers(0, 7).map(lambda n: n / 7))


@settings(max_examples=60, deadline=None)
@given(st.lists(corner, min_size=3, max_size=7, unique=True), st.sampled_from(["include", "exclude"]))
def test_included_pixels_match_a_loop_over_edges(points, kind):
    zone = Zone(points=points, kind=kind)
    included = _included_pixels([zone], STRETCH, (200, 300))
    for row in range(20):
        for column in range(30):
            inside = naive_inside(zone, (column + 0.5) / 30, (row + 0.5) / 20)
            assert included[row, column] == (inside == (kind == "include"))


def test_a_zone_covers_the_same_area_of_the_image_after_any_resize():
    square = InputSpec(size=(64, 64), resize=Resize(policy="letterbox"))
    included = _included_pixels([LEFT], square, (100, 200))
    assert included[16:48, :32].all() and included.sum() == 32 * 32, "no pixel of the bars above and below"
    assert _included_pixels([], square, (100, 200)).sum() == 32 * 64
    cropped = InputSpec(size=(64, 64), resize=Resize(policy="short_side", short_side=64))
    assert _included_pixels([LEFT], cropped, (100, 200))[:, :32].all(), "the middle of the image, left half"
    assert not _included_pixels([LEFT], cropped, (100, 200))[:, 32:].any()


def test_exclude_wins():
    inner = Zone(points=[(0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)], kind="exclude")
    included = _included_pixels([LEFT, inner], STRETCH, (20, 30))
    assert included[10:, :15].all() and included.sum() == 150
    assert _included_pixels([inner], STRETCH, (20, 30)).sum() == 450


@pytest.mark.parametrize("pooling", [Pooling("max"), Pooling("mean"), Pooling("top", 0.07), Pooling("top", 1e-9)])
def test_pooling_matches_the_detectors(pooling):
    maps = np.random.default_rng(0).normal(size=(5, 12, 14)).astype(np.float32)
    expected = pool(torch.from_numpy(maps), pooling.method, pooling.share).numpy()
    np.testing.assert_allclose(pool_pixels(maps.reshape(5, -1), pooling), expected, rtol=1e-5, atol=1e-7)


def test_scores_use_only_the_zone():
    maps = np.random.default_rng(0).random((4, 20, 30)).astype(np.float32)
    maps[:, 3, 25] = 9.0
    scores = Scores(maps.max((1, 2)), maps, {"part": np.arange(4.0)})
    zoned = zoned_pooling([LEFT], spec=STRETCH, size=(20, 30), pooling=Pooling("max"), detector="padim")
    rescored = zoned.rescore(scores)
    np.testing.assert_array_equal(rescored.score, maps[:, :, :15].max((1, 2)))
    assert rescored.map is not None and rescored.map.max() < 1 and rescored.terms is scores.terms
    np.testing.assert_array_equal(rescored.map[:, :, :15], maps[:, :, :15])
    with pytest.raises(ConfigError, match=r"maps of \(5, 5\), but the zones are for \(20, 30\)"):
        zoned.rescore(Scores(np.zeros(1), np.zeros((1, 5, 5))))


def test_detectors_whose_score_is_not_pooled_refuse_zones():
    with pytest.raises(ConfigError, match=r"zones with mnad: its score is not pooled from its map.*such as padim"):
        zoned_pooling([LEFT], spec=STRETCH, size=(20, 30), pooling=None, detector="mnad")


def test_zones_without_a_pixel_are_refused():
    tiny = Zone(points=[(0.5, 0.5), (0.501, 0.5), (0.5, 0.501)])
    more = {"spec": STRETCH, "size": (20, 30), "pooling": Pooling("max"), "detector": "padim"}
    with pytest.raises(ConfigError, match=r"the zones include no pixel of the detector's 20x30 map"):
        zoned_pooling([tiny], **more)
    with pytest.raises(ConfigError, match="include no pixel"):
        zoned_pooling([LEFT], **more, ignored=_included_pixels([LEFT], STRETCH, (20, 30)))


def test_zones_are_parsed_from_text_and_files():
    assert Zone.parse("0,0 0.5,0 0.5,1 0,1") == LEFT
    assert Zone.parse("exclude:0,0 1,0 1,1").kind == "exclude"
    for text in ("", "0,0 1,1", "0,0 1,0 1,2", "0,0 1,0 1", "hide:0,0 1,0 1,1", "0,0 0,0 0,0"):
        with pytest.raises(ConfigError, match="expected 3 points or more"):
            Zone.parse(text)
    with pytest.raises(ConfigError, match="unknown key 'kinds': did you mean 'kind'"):
        build(Zone, {"points": [[0, 0], [1, 0], [1, 1]], "kinds": "exclude"}, environment={})


def test_the_setup_hash_depends_on_zones_and_masks():
    assert hash_setup([]) is None
    other = Zone.parse("exclude:0,0 1,0 1,1")
    assert hash_setup([LEFT, other]) == hash_setup([other, LEFT]) != hash_setup([LEFT])
    assert hash_setup([LEFT]) == hash_setup([Zone(points=LEFT.points, name="door")])
    assert hash_setup([LEFT], [[[0, 0], [1, 1]]]) != hash_setup([LEFT])
