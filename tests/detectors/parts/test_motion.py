import numpy as np
import pytest
import torch

from offnormal.detectors.padim import Padim, PadimOptions
from offnormal.detectors.parts.motion import MotionProjection, distinct_frames
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, InputSpec
from tests.detectors.padim.test_detector import ToyPadim

SPEC = InputSpec(size=(32, 48), frames=2, fps=2.5)
SMALL = {"motion": True, "appearance_features": 4, "motion_features": 3}


def clips(n, seed=0):
    return torch.rand(n, 3, 2, 32, 48, generator=torch.Generator().manual_seed(seed))


def overlapping(n, apart):
    """Clips whose first frame is the last frame of the clip `apart` positions earlier."""
    frames = torch.rand(n + apart, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return torch.stack([frames[:n], frames[apart:]], 2)


def padim(n=30, **options):
    detector = ToyPadim(PadimOptions(**{**SMALL, **options}), SPEC)
    for batch in torch.split(clips(n), 7):
        detector.update(batch)
    return detector


@pytest.mark.parametrize(("apart", "count"), [(1, 9), (2, 10), (5, 13), (8, 16)])
def test_frames_shared_by_clips_are_computed_once(apart, count):
    x = overlapping(8, apart)
    frames, earlier = distinct_frames(x)
    assert len(frames) == count
    assert torch.equal(frames[:8], x[:, :, 1])
    assert torch.equal(frames[earlier], x[:, :, 0])


def test_frames_are_shared_only_if_every_pixel_is_equal():
    x = overlapping(4, 1)
    x[2, :, 0] = x[2, :, 0].flip(-1)  # the same sum
    frames, earlier = distinct_frames(x)
    assert len(frames) == 6
    assert torch.equal(frames[earlier], x[:, :, 0])


def test_frames_of_several_videos_in_a_batch_are_matched():
    x = torch.cat([overlapping(5, 2), overlapping(4, 1).flip(-1), clips(1)[..., :8, :8]])
    frames, earlier = distinct_frames(x)
    assert torch.equal(frames[earlier], x[:, :, 0])
    assert len(frames) == 10 + 2 + 1 + 1


def test_overlap_changes_no_score():
    detector = padim()
    detector.finish()
    frames = torch.rand(9, 3, 32, 48, generator=torch.Generator().manual_seed(4))
    x = torch.stack([frames[:-2], frames[2:]], 2)
    alone = torch.cat([detector(x[i : i + 1]).score for i in range(len(x))])
    torch.testing.assert_close(detector(x).score, alone)


@pytest.mark.parametrize("n", [5, 40])
def test_maps_equal_a_naive_computation_in_float64(n):
    """Projections, their Gaussian with ridge and shrinkage, upsampling, blur, and pooling in numpy and scipy."""
    from scipy.ndimage import gaussian_filter

    detector = padim(n)
    appearance, motion = (getattr(detector.motion[0], name).double().numpy() for name in ("appearance", "motion"))

    def embed(x):
        earlier, later = (
            np.concatenate([a.reshape(len(x), 5, 4, 2, 6, 2).mean((3, 5)), b], 1).astype(np.float64)
            for a, b in (detector.backbone(x[:, :, t]).values() for t in (0, 1))
        )
        return np.concatenate(
            [np.einsum("nchw,cd->ndhw", later, appearance), np.einsum("nchw,cd->ndhw", abs(later - earlier), motion)], 1
        )

    train, test = embed(clips(n)), embed(clips(3, seed=8))
    ridge = 0.01 * train.var(0, ddof=1).mean((1, 2))
    distances = np.zeros((3, 4, 6))
    for i in range(4):
        for j in range(6):
            scaled = train[:, :, i, j] / np.sqrt(ridge)
            learned = np.cov(scaled, rowvar=False)
            covariance = 0.8 * learned + (1 + 0.2 * np.trace(learned) / 7) * np.eye(7)
            z = test[:, :, i, j] / np.sqrt(ridge) - scaled.mean(0)
            distances[:, i, j] = np.sqrt(np.einsum("nd,de,ne->n", z, np.linalg.inv(covariance), z))
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(distances)[:, None], size=(32, 48), mode="bilinear", align_corners=False
    )[:, 0]
    expected = np.stack([gaussian_filter(m, 4) for m in enlarged.numpy()])
    detector.finish()
    output = detector(clips(3, seed=8))
    np.testing.assert_allclose(output.map[:, 0], expected, rtol=2e-3)
    highest = np.sort(expected.reshape(3, -1))[:, -round(0.1 * 32 * 48) :]
    np.testing.assert_allclose(output.score[:, 0], highest.mean(1), rtol=2e-3)


@pytest.mark.parametrize("options", [{}, {"fusion": "sum", "appearance_features": 2}, {"neighbors": 3}])
def test_halves_can_be_merged_and_removed(options):
    whole = padim(20, **options)
    first, second = whole.blank(), whole.blank()
    first.update(clips(20)[:9])
    second.update(clips(20)[9:])
    remaining = whole.without(first)
    joined = whole.blank()
    joined.merge(second)
    joined.merge(first)
    for detector in (whole, second, remaining, joined):
        detector.finish()
    test = clips(4, seed=9)
    torch.testing.assert_close(joined(test).map, whole(test).map, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(remaining(test).map, second(test).map, rtol=1e-3, atol=1e-3)


def test_leave_one_out_scores_equal_refitting_without_the_clip():
    options = {"eps_relative": False, "shrinkage": 0.0}
    detector, x = padim(12, **options), clips(12)
    left_out = torch.cat([output.score for output in detector.leave_one_out(detector.embed(x))])
    for i in (0, 7):
        other = detector.blank()
        other.update(torch.cat([x[:i], x[i + 1 :]]))
        other.finish()
        torch.testing.assert_close(left_out[i : i + 1], other(x[i : i + 1]).score, rtol=1e-3, atol=1e-3)


def test_unusual_motion_is_detected():
    """Each frame is normal, but the training frames never change so fast."""
    phase = torch.linspace(0, 6.28, 200)
    ground = clips(1, seed=3)[0, :, 0]
    frames = torch.stack([ground + torch.sin(angle) for angle in phase])
    slow, fast = (torch.stack([frames[:-step], frames[step:]], 2) for step in (2, 40))
    moving = ToyPadim(PadimOptions(**SMALL), SPEC)
    still = ToyPadim(PadimOptions(), InputSpec(size=(32, 48)))
    moving.update(slow)
    still.update(slow[:, :, 1])
    moving.finish()
    still.finish()
    assert moving(fast).score.median() > 3 * moving(slow).score.median()
    assert still(fast[:, :, 1]).score.median() < 1.5 * still(slow[:, :, 1]).score.median()


def test_projections_follow_the_seed_and_preserve_lengths_on_average():
    a, b, c = (MotionProjection(50, 20, 10, seed) for seed in (1, 1, 2))
    assert torch.equal(a.appearance, b.appearance) and torch.equal(a.motion, b.motion)
    assert not torch.equal(a.appearance, c.appearance)
    rows = torch.randn(500, 50, generator=torch.Generator().manual_seed(0))
    for projection in (a.appearance, a.motion):
        assert float((rows @ projection).square().sum(1).mean() / rows.square().sum(1).mean()) == pytest.approx(
            1, abs=0.2
        )


def test_the_projections_are_saved_with_the_detector():
    detector = padim()
    detector.finish()
    other = ToyPadim(PadimOptions(**SMALL, seed=5), SPEC)
    other.load_state(detector.state_dict())
    assert torch.equal(other(clips(2)).score, detector(clips(2)).score)


def test_motion_needs_two_frames():
    assert Padim.clip_spec(PadimOptions()) == ClipSpec()
    assert Padim.clip_spec(PadimOptions(motion=True, motion_lag=0.5)) == ClipSpec(frames=2, fps=2.0)
    with pytest.raises(ConfigError, match="expects channels=3, frames=2"):
        ToyPadim(PadimOptions(motion=True), InputSpec(size=(32, 48)))
    with pytest.raises(ConfigError, match="expects channels=3, frames=1"):
        ToyPadim(PadimOptions(), SPEC)


def test_options_override_the_defaults_with_motion():
    image, motion, chosen = (
        ToyPadim(PadimOptions(**options), spec)
        for options, spec in (
            ({}, InputSpec(size=(32, 48))),
            (SMALL, SPEC),
            ({**SMALL, "shrinkage": 0.0, "pool": "mean", "top_share": 0.5}, SPEC),
        )
    )
    defaults = [
        (detector.gaussians[0].shrinkage, detector.pool, detector.top_share) for detector in (image, motion, chosen)
    ]
    assert defaults == [(0.0, "max", 0.001), (0.2, "top", 0.1), (0.0, "mean", 0.5)]


def test_wrong_options_are_explained():
    with pytest.raises(ConfigError, match="expected at most 12"):
        padim(appearance_features=13)
    with pytest.raises(ConfigError, match="--motion"):
        padim(reduce="pca")
