"""Names that outside checks rely on: each is imported and called in the form that they use."""

import numpy as np
import pytest
import torch

from offnormal.detectors.ganomaly import Ganomaly
from offnormal.detectors.memae import MemAE
from offnormal.detectors.mnad import MNAD
from offnormal.detectors.padim import Padim, concat_features, smooth
from offnormal.detectors.parts.gaussian import PositionGaussian
from offnormal.detectors.parts.memory import (
    address,
    compactness,
    entropy,
    read_items,
    separateness,
    update_items,
)
from offnormal.metrics import image, pixel, video

LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.9])


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_padim():
    assert Padim.name == "padim"
    assert concat_features([random(2, 3, 8, 8), random(2, 5, 4, 4)]).shape == (2, 8, 8, 8)
    flat = smooth(torch.ones(2, 9, 9), sigma=4, border="reflect_scipy")
    torch.testing.assert_close(flat, torch.ones(2, 9, 9))
    assert smooth(random(1, 9, 9), 4, "reflect_torch").std() < random(1, 9, 9).std()


def test_position_gaussian():
    first, second, whole = PositionGaussian(0.01), PositionGaussian(0.01), PositionGaussian(0.01)
    x = random(10, 3, 2, 2)
    first.update(x[:4])
    second.update(x[4:])
    whole.update(x)
    first.merge(second)
    torch.testing.assert_close(first.mean, whole.mean)
    covariance = first.covariance()
    assert covariance.shape[-2:] == (3, 3)
    torch.testing.assert_close(covariance, whole.covariance())
    for gaussian in (first, whole):
        gaussian.finish()
    assert first.mahalanobis(x).shape == (10, 2, 2)
    torch.testing.assert_close(first.mahalanobis(x), whole.mahalanobis(x), rtol=1e-4, atol=1e-4)


def test_memory_of_memae():
    query, memory = random(2, 4, 3, 3), random(6, 4, seed=1)
    recalled, attention = address(query, memory, shrink=0.1)
    assert (recalled.shape, attention.shape) == (query.shape, (2, 6, 3, 3))
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 3, 3))
    assert 0 <= entropy(attention) <= np.log(6)


def test_memory_of_mnad():
    query, items = random(2, 4, 3, 3), torch.nn.functional.normalize(random(5, 4, seed=1), dim=1)
    features, over_items, over_queries = read_items(query, items)
    assert features.shape == (2, 8, 3, 3)
    assert over_items.numel() == over_queries.numel() == 2 * 9 * 5
    assert update_items(query, items).shape == items.shape
    assert compactness(query, items) > 0
    assert separateness(query, items) >= 0


def test_ganomaly():
    detector = Ganomaly.create(32, 3, 9, 4, 1)
    channels_of = Ganomaly.create(size=32, channels=3, latent=9, width=4, extra_layers=1)
    generator, discriminator = detector.generator.state_dict(), detector.discriminator.state_dict()
    assert list(channels_of.generator.state_dict()) == list(generator)
    assert next(iter(generator)) == "encoder1.main.initial-conv-3-4.weight"
    other = Ganomaly.create(32, 3, 9, 4, 1, seed=1)
    other.load_reference_state_dict(generator, discriminator)
    assert torch.equal(other.discriminator(random(2, 3, 32, 32))[0], detector.discriminator(random(2, 3, 32, 32))[0])
    assert other(random(2, 3, 32, 32)).score.shape == (2, 1)


@pytest.mark.parametrize(("method", "channels"), [("pred", 12), ("recon", 3)])
def test_mnad(method, channels):
    detector = MNAD.create(method)
    frame, query = detector.net(random(1, channels, 32, 32), detector.items)
    assert (frame.shape, query.shape) == ((1, 3, 32, 32), (1, 512, 4, 4))
    other = MNAD.create(method, seed=1)
    other.load_reference_state_dict(detector.net.state_dict(), detector.items)
    assert other.is_fitted
    assert torch.equal(other.items, detector.items)


def test_memae():
    detector = MemAE.create()
    assert detector.input.size == (256, 256)
    assert detector.input.frames == 16
    state = detector.net.state_dict()
    assert list(state)[:2] == ["memory", "encoder.0.weight"]
    other = MemAE.create(seed=1)
    other.load_reference_state_dict(state)
    assert other.is_fitted
    assert torch.equal(other.net.state_dict()["memory"], state["memory"])


def test_metrics():
    assert image.auroc(LABELS, SCORES) == 0.75
    assert image.best_f1(LABELS, SCORES) == pytest.approx((0.8, 0.3))
    masks = np.zeros((1, 4, 4), np.uint8)
    masks[0, 1:3, 1:3] = 1
    assert pixel.auroc(masks, masks.astype(float)) == 1
    assert pixel.aupro(masks, masks.astype(float), fpr_limit=0.3) == pytest.approx(1)
    assert video.min_max([2.0, 4.0, 3.0]).tolist() == [0, 1, 0.5]
    assert video.frame_auc(LABELS, SCORES) == 0.75
