"""EmbeddingAE: what is frozen, what learns and when, what is to be rebuilt, and what the score is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offnormal.backbones.video.base import VideoBackbone, VideoCard
from offnormal.data.batches import Batch
from offnormal.detectors.embedding_ae import EmbeddingAE, EmbeddingAEOptions
from offnormal.detectors.embedding_ae.detector import _thin_out
from offnormal.errors import ConfigError, WeightsError
from offnormal.types import ClipSpec, InputSpec
from tests.items import sample

SPEC = InputSpec(size=(16, 16), frames=3, targets=())
WIDTH = 12


class Small(VideoBackbone):
    """A network of clips with batch normalization, in which a single frame shows."""

    def __init__(self):
        card = VideoCard(
            backbone="small",
            source="random weights",
            license="none",
            mean=(0.4, 0.5, 0.6),
            std=(0.2, 0.2, 0.2),
            size=(16, 16),
            frames=3,
            every=None,
            embedding=WIDTH,
        )
        trunk = torch.nn.Sequential()
        trunk.add_module("stem", torch.nn.Conv3d(3, 8, 3, padding=1))
        trunk.add_module("norm", torch.nn.BatchNorm3d(8))
        trunk.add_module("last", torch.nn.Conv3d(8, WIDTH, 3))
        super().__init__(card, trunk, 3)

    def embed(self, x):
        return self.trunk(self.normalize(x)).tanh().mean((2, 3, 4))


class SmallAE(EmbeddingAE):
    def make_embedder(self):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return Small()


def made(**options):
    return SmallAE(EmbeddingAEOptions(hidden=[8, 4], **options), SPEC)


class Rows:
    """A loader of what is given, in batches of 4."""

    def __init__(self, x, actions=None):
        self.x = x
        self.samples = [sample(class_name=None if actions is None else actions[i]) for i in range(len(x))]

    def __len__(self):
        return len(self.x)

    def __iter__(self):
        for start in range(0, len(self.x), 4):
            yield Batch(self.x[start : start + 4].numpy(), self.samples[start : start + 4], None)


def clips(n, seed=0):
    return torch.rand(n, 3, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def fitted(**options):
    detector = made(**options).eval()
    detector.prepare(Rows(clips(20)))
    with torch.no_grad():
        detector.learn_heads(Rows(clips(20)))
    return detector


def step(detector, x, epoch=0, late=False):
    """One step as the loop takes it; its loss."""
    detector.train()
    detector.epoch_begins(epoch, late=late)
    (optimizer,) = detector.optimizers().values()
    ((_, losses),) = detector.training_step(x)
    losses["loss"].backward()
    optimizer.step()
    return losses["loss"].detach()


# --- embedding ----------------------------------------------------------------------------------------------


def test_embeddings_do_not_depend_on_the_batch_to_the_last_bit():
    detector = made().eval()
    with torch.no_grad():
        whole = detector.embed(clips(7))
        alone = torch.cat([detector.embed(one[None]) for one in clips(7)])
    assert torch.equal(whole, alone)


def test_ignored_pixels_count_as_much_as_the_mean_color():
    detector = made().eval()
    region = torch.zeros(16, 16)
    region[:5] = 1
    detector.ignore(region)
    other = clips(2)
    other[..., :5, :] = 0.9
    with torch.no_grad():
        assert torch.equal(detector.embed(clips(2)), detector.embed(other))
        assert not torch.equal(detector.embed(clips(2)), made().eval().embed(clips(2)))


def test_the_key_follows_numbers_region_and_view():
    plain = made()
    assert plain.embedding_key(0) == made().embedding_key(0)
    changed = made()
    changed.embedder.trunk.stem.bias.data[0] += 1e-6
    covered = made()
    covered.ignore(torch.eye(16))
    keys = {plain.embedding_key(0), changed.embedding_key(0), covered.embedding_key(0), plain.embedding_key(1)}
    assert len(keys) == 4
    assert made(seed=1).embedding_key(0) == plain.embedding_key(0)
    assert made(seed=1).embedding_key(1) != plain.embedding_key(1)


# --- learning -----------------------------------------------------------------------------------------------


def test_the_embedder_is_left_alone_while_it_is_frozen():
    detector = fitted()
    before = copy.deepcopy(detector.embedder.state_dict())
    assert float(step(detector, clips(8))) > 0
    assert all(torch.equal(value, before[name]) for name, value in detector.embedder.state_dict().items())
    assert not detector.embedder.training and not detector.embedder.trunk.norm.training
    assert detector.net.training


def test_embeddings_are_standardized_on_the_training_clips():
    detector = fitted()
    with torch.no_grad():
        x = detector.embed(clips(20))
    np.testing.assert_allclose(detector.center, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(detector.spread, x.numpy().std(0), rtol=1e-4)


def test_numbers_that_never_differ_are_not_blown_up():
    detector = made().eval()
    x = torch.randn(30, WIDTH, generator=torch.Generator().manual_seed(0))
    x[:, 3] = 0.5
    detector.prepare(Rows(x))
    assert 0 < float(detector.spread[3]) < 0.02
    detector.prepare(Rows(x[:1]))
    assert torch.equal(detector.spread, torch.ones(WIDTH))


def test_steps_over_embeddings_are_those_over_their_pixels():
    one, two = fitted(), fitted()
    with torch.no_grad():
        rows = one.embed(clips(8))
    torch.manual_seed(5)
    over_rows = step(one, rows)
    torch.manual_seed(5)
    over_pixels = step(two, clips(8))
    torch.testing.assert_close(over_rows, over_pixels)
    torch.testing.assert_close(one.net.state_dict(), two.net.state_dict())


def test_named_parts_learn_from_their_epoch_on_and_batch_statistics_never():
    detector = fitted(unfreeze=["last"])
    assert detector.learns_late and not fitted().learns_late
    first = detector.epoch_begins(0, late=False)
    step(detector, clips(8), epoch=1)
    before = copy.deepcopy(detector.embedder.state_dict())
    assert not any(p.requires_grad for p in detector.embedder.parameters())
    later = detector.epoch_begins(2, late=True)
    last = sum(p.numel() for p in detector.embedder.trunk.last.parameters())
    assert later["learning_parameters"] == first["learning_parameters"] + last
    assert later["parameters"] == first["parameters"] == sum(p.numel() for p in detector.parameters())
    step(detector, clips(8), epoch=2, late=True)
    changed = {name for name, value in detector.embedder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"trunk.last.weight", "trunk.last.bias"}
    assert not detector.embedder.trunk.norm.training
    assert detector.epoch_begins(3, late=True) == {}
    assert detector.epoch_begins(3, late=False) == first
    assert not any(p.requires_grad for p in detector.embedder.parameters())


def test_all_of_it_may_learn():
    detector = fitted(unfreeze=["all"])
    step(detector, clips(8), late=True)
    assert all(p.requires_grad for p in detector.embedder.parameters())
    held = [p for group in detector.optimizers()["autoencoder"].param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(detector.parameters()))


def test_optimizers_hold_what_will_learn_from_the_start_at_a_rate_of_its_own():
    (optimizer,) = made(unfreeze=["last", "last"], finetune_rate=3e-5).optimizers().values()
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 3e-5]
    assert [group.get("late") for group in optimizer.param_groups] == [None, "embedder"]
    assert len(optimizer.param_groups[1]["params"]) == 2


@pytest.mark.parametrize(
    ("options", "per_epoch", "epochs", "expected"),
    [
        ({}, 1, None, (3000, 100)),
        ({}, 200, None, (15, 10)),
        ({}, 7, None, (429, 15)),
        ({}, 5, 30, (20, 10)),
        ({}, 5, 1, (0, 1)),
        ({"finetune_from": 4}, 200, None, (3, 10)),
        ({"finetune_from": 1}, 200, 2, (0, 2)),
        ({"finetune_epochs": 2}, 1, None, (3000, 2)),
        ({"finetune_epochs": 2}, 1, 30, (28, 2)),
        ({"finetune_from": 4, "finetune_epochs": 2}, 1, None, (3, 2)),
        ({"finetune_from": 4, "finetune_epochs": 2}, 1, 5, (3, 2)),
    ],
)
def test_when_the_embedder_learns(options, per_epoch, epochs, expected):
    assert made(unfreeze=["last"], **options).stages(per_epoch, epochs) == expected


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({"finetune_from": 3}, 2), ({"finetune_epochs": 3}, 2), ({"finetune_from": 2, "finetune_epochs": 3}, 5)],
)
def test_an_embedder_that_would_never_learn_is_refused(options, epochs):
    with pytest.raises(ConfigError, match=rf"no training of {epochs} epoch\(s\)"):
        made(unfreeze=["last"], **options).stages(1, epochs)


@pytest.mark.parametrize("options", [{"finetune_from": 3}, {"finetune_epochs": 3}])
def test_when_without_what_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} without unfreeze"):
        EmbeddingAE.adapt_options(EmbeddingAEOptions(**options), data="videos", shown=0.5)


@pytest.mark.parametrize("target", ["detached", "teacher"])
def test_what_is_to_be_rebuilt_never_learns(target):
    detector = fitted(unfreeze=["all"], target=target)
    detector.epoch_begins(0, late=True)
    with torch.no_grad():
        at_first = (detector.embed(clips(8)) - detector.center) / detector.spread
        detector.embedder.trunk.last.weight *= 0.5  # as if it had learned
        now = (detector.embed(clips(8)) - detector.center) / detector.spread
    embedding, to_be = detector._both(clips(8))
    assert embedding.requires_grad and not to_be.requires_grad
    torch.testing.assert_close(to_be, at_first if target == "teacher" else now)


def test_embeddings_that_shrink_are_noticed(caplog):
    detector = fitted(unfreeze=["all"])
    step(detector, clips(16), late=True)
    told = detector.epoch_ended()
    assert told["embedding_spread"] == pytest.approx(1, abs=0.3)
    assert "shrink" not in caplog.text
    with torch.no_grad():
        detector.embedder.trunk.last.weight *= 0.1
    step(detector, clips(16), late=True)
    assert detector.epoch_ended()["embedding_spread"] < 0.3
    assert "shrink" in caplog.text
    assert detector.epoch_ended() == {}  # no step since


def validated(detector, x):
    with torch.no_grad():
        return detector.eval().validation_step(x)["loss"].item()


def test_a_shrunk_embedding_does_not_look_better_on_normals_kept_back():
    """Its scale and what the autoencoder makes of it halve together, and nothing is won by it."""
    detector = fitted(unfreeze=["all"])
    before = validated(detector, clips(8, seed=1))
    with torch.no_grad():
        detector.embedder.trunk.last.weight *= 0.5
        detector.embedder.trunk.last.bias *= 0.5
        detector.center *= 0.5
        detector.net = _Times(0.5, detector.net)
    assert validated(detector, clips(8, seed=1)) == pytest.approx(before, rel=0.15)  # and not a quarter; tanh bends it


class _Times(torch.nn.Module):
    """Rebuilds what is smaller as the net rebuilds what is not."""

    def __init__(self, times, net):
        super().__init__()
        self.times, self.net = times, net

    def forward(self, x):
        rebuilt, latent = self.net(x / self.times)
        return self.times * rebuilt, latent


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("target", ["detached", "teacher"])
def test_an_embedder_that_has_learned_nothing_yet_is_judged_as_frozen(count, target):
    detector = fitted(unfreeze=["all"], target=target)
    with torch.no_grad():
        rows = detector.embed(clips(count, seed=1))
    detector.epoch_begins(0, late=True)
    assert validated(detector, clips(count, seed=1)) == pytest.approx(validated(detector, rows), rel=1e-5)


def test_views_are_taken_of_pixels_and_decided_by_the_step():
    detector = fitted(views=2, unfreeze=["last"])
    detector.epoch_begins(0, late=True)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        ((_, losses),) = copy.deepcopy(detector).training_step(clips(8))
        found.append(losses["loss"].item())
    assert found[0] == found[1] != found[2]


# --- scoring ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["ae", "centroid", "mahalanobis", "knn"])
def test_the_score_is_that_of_the_head_and_all_are_terms(head):
    detector = fitted(head=head, clusters=3)
    with torch.no_grad():
        found = detector(clips(5, seed=2))
    assert set(found.terms) == {"ae", "centroid", "mahalanobis", "knn", "latent"}
    assert torch.equal(found.score, found.terms[head])
    assert all(term.shape == (5, 1) for term in found.terms.values())
    assert found.map is None


def test_the_error_is_the_mean_square_of_the_standardized_embedding():
    detector = fitted()
    with torch.no_grad():
        x = (detector.embed(clips(5)) - detector.center) / detector.spread
        expected = (detector.net(x)[0] - x).numpy()
        found = detector(clips(5)).terms["ae"]
    np.testing.assert_allclose(found[:, 0], (expected**2).mean(1), rtol=1e-5)


def test_classes_of_the_clips_are_used_where_they_are_known():
    detector = made().eval()
    with torch.no_grad():
        rows = detector.embed(clips(12))
        detector.prepare(Rows(rows))
        detector.learn_heads(Rows(rows, actions=["dive", "run", "kick"] * 4))
    x = ((rows - detector.center) / detector.spread).numpy()
    expected = [x[place::3].mean(0) for place in (0, 2, 1)]  # dive, kick, run
    np.testing.assert_allclose(detector.heads.centroids.means, expected, atol=1e-5)


def test_views_count_as_normal_for_the_heads():
    few, more = made().eval(), made(views=3).eval()
    for detector in (few, more):
        detector.prepare(Rows(clips(6)))
        with torch.no_grad():
            detector.learn_heads(Rows(clips(6)))
    assert len(few.heads.neighbors.kept) == 6
    assert len(more.heads.neighbors.kept) == 24


# --- options ------------------------------------------------------------------------------------------------


def clip_of(**options):
    return EmbeddingAEOptions(**options).clip_spec


def test_clips_are_taken_as_the_embedder_was_trained():
    assert clip_of() == ClipSpec(frames=8, hop=4, targets=())
    assert clip_of(embedder="r2plus1d_18") == ClipSpec(frames=16, fps=15.0, hop=8, targets=())
    assert clip_of(embedder="r2plus1d_18", clip_fps=0, frames=8, hop=3) == ClipSpec(frames=8, hop=3, targets=())
    assert clip_of(embedder="slowfast_r50", sampling="uniform") == ClipSpec(frames=32, sampling="uniform", targets=())
    assert clip_of(frames=1) == ClipSpec()
    assert EmbeddingAE.default_side(EmbeddingAEOptions(embedder="r2plus1d_18")) == 112


@pytest.mark.parametrize(("width", "expected"), [(512, [384, 256, 128]), (768, [512, 256, 128])])
def test_layers_are_the_published_ones_unless_given(width, expected):
    assert EmbeddingAEOptions().layers(width) == expected
    assert EmbeddingAEOptions(hidden=[64, 32]).layers(width) == [64, 32]


def test_clips_of_activities_are_taken_whole_unless_windows_are_asked_for():
    def sampling(of, **given):
        return EmbeddingAE.adapt_options(EmbeddingAEOptions(**given), data=of, shown=64).sampling

    assert [sampling(of) for of in ("clips", "videos", "pictures")] == ["uniform", "window", "window"]
    assert sampling("clips", hop=4) == sampling("clips", sampling="window") == "window"
    assert sampling("videos", sampling="uniform") == "uniform"


def test_pictures_are_taken_one_at_a_time():
    assert EmbeddingAE.adapt_options(EmbeddingAEOptions(), data="pictures", shown=64).frames == 1
    assert EmbeddingAE.adapt_options(EmbeddingAEOptions(), data="videos", shown=64).frames is None
    detector = SmallAE(EmbeddingAEOptions(frames=1, hidden=[8]), InputSpec(size=(16, 16)))
    with torch.no_grad():
        assert detector.eval()._embedded(torch.rand(2, 3, 16, 16).expand(2, 3, 16, 16), _First()).shape == (2, WIDTH)


class _First(Small):
    """Takes single frames."""

    def embed(self, x):
        assert x.shape[2] == 1
        return super().embed(x.expand(-1, -1, 3, -1, -1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": "uniform", "hop": 2}, "hop with sampling=uniform"),
        ({"unfreeze": []}, "name some"),
        ({"target": "teacher"}, "without unfreeze"),
        ({"hidden": []}, "hidden"),
    ],
)
def test_what_means_nothing_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        EmbeddingAEOptions(**given)


def test_weights_are_the_published_ones_or_random_when_asked(caplog, monkeypatch):
    asked = []
    monkeypatch.setattr(Small, "load_pretrained", lambda self, weights: asked.append(weights))
    made(weights="random").load_pretrained()
    assert asked == [] and "random weights" in caplog.text
    made().load_pretrained()
    assert asked == [None]
    with pytest.raises(ConfigError, match="no trainable part 'layer9'"):
        made(unfreeze=["layer9"]).load_pretrained()


def test_without_published_weights_a_file_is_asked_for():
    spec = InputSpec(size=(32, 32), frames=8, targets=())
    detector = EmbeddingAE(EmbeddingAEOptions(embedder="slowfast_r50"), spec)
    with pytest.raises(WeightsError, match="--weights"):
        detector.load_pretrained()


def test_the_card_says_what_was_trained_further():
    assert fitted().cards()[0].source == "random weights"
    assert fitted(unfreeze=["last"]).cards()[0].source == "random weights"  # it never came to it
    detector = fitted(unfreeze=["last"])
    step(detector, clips(8), late=True)
    with torch.no_grad():
        detector.learn_heads(Rows(clips(20)))
    assert detector.cards()[0].source == "random weights, last trained further"


class Numbers:
    """A loader of so many numbers."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        for start in range(0, self.count, 4):
            numbers = list(range(start, min(start + 4, self.count)))
            yield Batch(np.array(numbers), numbers, None)


@pytest.mark.parametrize(("most", "expected"), [(100, list(range(11))), (6, [0, 2, 4, 6, 8, 10]), (2, [0, 6])])
def test_samples_are_spread_over_all_batches(most, expected):
    found = list(_thin_out(Numbers(11), most))
    assert np.concatenate([batch.pixels for batch in found]).tolist() == expected
    assert [sample for batch in found for sample in batch.samples] == expected
