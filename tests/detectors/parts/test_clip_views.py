import pytest
import torch

from offnormal.detectors.parts.clip_views import sample_views, view, views


def clip(frames=4, size=(24, 32), seed=0):
    return torch.rand(3, frames, *size, generator=torch.Generator().manual_seed(seed))


def test_the_seed_determines_the_view():
    assert torch.equal(view(clip(), 5), view(clip(), 5))
    assert not torch.equal(view(clip(), 5), view(clip(), 6))
    before = torch.random.get_rng_state()
    view(clip(), 7)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(8))
def test_all_frames_of_a_clip_get_the_same_transform(seed):
    still = clip(1).expand(-1, 5, -1, -1)
    transformed = view(still, seed)
    assert transformed.shape == still.shape
    assert 0 <= transformed.min() <= transformed.max() <= 1
    assert all(torch.equal(transformed[:, 0], transformed[:, t]) for t in range(1, 5))


def test_an_image_is_a_clip_of_one_frame():
    image = clip(1)[:, 0]
    assert torch.equal(view(image, 3), view(image[:, None], 3)[:, 0])


def test_each_transform_occurs():
    """A gray field with a bright spot: some views shift, recolor, blur it, or drop pixels."""
    field = torch.full((3, 2, 33, 33), 0.5)
    field[:, :, 16, 16] = 0.9
    transformed = [view(field, seed) for seed in range(60)]
    middle = [pixels[:, 0, 2:8, 2:8].flatten(1).median(1).values for pixels in transformed]  # far from the spot
    assert any((colors - colors[0]).abs().max() > 0.02 for colors in middle)
    assert any(abs(float(colors.mean()) - 0.5) > 0.05 for colors in middle)
    assert any((pixels == 0).all(0).sum() > 5 for pixels in transformed)
    assert any((pixels == 1).all(0).sum() > 5 for pixels in transformed)
    assert any(pixels[0, 0, 16, 16] < 0.8 * pixels[0, 0].max() for pixels in transformed)


def test_padding_mirrors_the_image():
    light = torch.full((3, 1, 40, 60), 0.6)
    for seed in range(30):
        transformed = view(light, seed)[0, 0]
        inside = transformed[(transformed > 0) & (transformed < 1)]
        assert inside.max() - inside.min() < 1e-4


def test_each_clip_has_its_view():
    clips = torch.stack([clip(seed=1), clip(seed=2)])
    transformed = views(clips, [4, 5])
    assert torch.equal(transformed[1], view(clips[1], 5))


def test_some_sampled_views_are_the_clips():
    clips = clip()[None].expand(60, -1, -1, -1, -1)
    torch.manual_seed(0)
    transformed = sample_views(clips, 2)
    plain = sum(torch.equal(pixels, clips[0]) for pixels in transformed)
    assert 10 <= plain <= 30  # about a third of 60
    torch.manual_seed(0)
    assert torch.equal(sample_views(clips, 2), transformed)
