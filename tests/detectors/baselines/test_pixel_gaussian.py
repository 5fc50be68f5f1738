import torch

from offnormal.detectors.baselines import PixelGaussian, PixelGaussianOptions
from offnormal.types import ClipSpec, InputSpec


def test_the_mean_of_the_map_orders_frames_as_their_likelihood_does():
    spec = InputSpec(size=(4, 6), channels=1)
    detector = PixelGaussian(PixelGaussianOptions(sigma=0, eps=1e-9), spec)
    x = torch.rand(50, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    detector.update(x)
    detector.finish()
    normal = torch.distributions.Normal(x.mean(0), x.std(0))
    likelihood = normal.log_prob(x).sum((1, 2, 3))
    assert torch.equal(detector(x).score[:, 0].argsort(), likelihood.argsort(descending=True))


def test_a_clip_is_a_single_frame():
    assert PixelGaussian.clip_spec(PixelGaussianOptions()) == ClipSpec()
