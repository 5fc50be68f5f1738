import pytest
import torch

from offnormal.detectors.parts.clip_views import some_views, view, views


def clip(frames=4, size=(24, 32), seed=0):
    return torch.rand(3, frames, *size, generator=torch.Generator().manual_seed(seed))


def test_a_seed_decides_and_another_gives_another():
    assert torch.equal(view(clip(), 5), view(clip(), 5))
    assert not torch.equal(view(clip(), 5), view(clip(), 6))
    before = torch.random.get_rng_state()
    view(clip(), 7)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(8))
def test_all_frames_of_a_clip_are_treated_alike(seed):
    still = clip(1).expand(-1, 5, -1, -1)
    made = view(still, seed)
    assert made.shape == still.shape
    assert 0 <= made.min() <= made.max() <= 1
    assert all(torch.equal(made[:, 0], made[:, t]) for t in range(1, 5))


def test_a_picture_is_a_clip_of_one_frame():
    picture = clip(1)[:, 0]
    assert torch.equal(view(picture, 3), view(picture[:, None], 3)[:, 0])


def test_each_kind_of_change_happens():
    """A gray field with a bright spot: it moves, takes color, is blurred and loses pixels, each in some views."""
    field = torch.full((3, 2, 33, 33), 0.5)
    field[:, :, 16, 16] = 0.9
    made = [view(field, seed) for seed in range(60)]
    middle = [one[:, 0, 2:8, 2:8].flatten(1).median(1).values for one in made]  # far from the spot
    assert any((colors - colors[0]).abs().max() > 0.02 for colors in middle)
    assert any(abs(float(colors.mean()) - 0.5) > 0.05 for colors in middle)
    assert any((one == 0).all(0).sum() > 5 for one in made)
    assert any((one == 1).all(0).sum() > 5 for one in made)
    assert any(one[0, 0, 16, 16] < 0.8 * one[0, 0].max() for one in made)


def test_nothing_comes_in_from_outside():
    light = torch.full((3, 1, 40, 60), 0.6)
    for seed in range(30):
        made = view(light, seed)[0, 0]
        kept = made[(made > 0) & (made < 1)]
        assert kept.max() - kept.min() < 1e-4


def test_several_clips_have_views_of_their_own():
    clips = torch.stack([clip(seed=1), clip(seed=2)])
    made = views(clips, [4, 5])
    assert torch.equal(made[1], view(clips[1], 5))


def test_some_views_are_the_clips_themselves():
    clips = clip()[None].expand(60, -1, -1, -1, -1)
    torch.manual_seed(0)
    made = some_views(clips, 2)
    plain = sum(torch.equal(one, clips[0]) for one in made)
    assert 10 <= plain <= 30  # of 60 about a third
    torch.manual_seed(0)
    assert torch.equal(some_views(clips, 2), made)
