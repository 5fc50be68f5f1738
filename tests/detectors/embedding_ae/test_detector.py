"""Tests of EmbeddingAE: frozen and fine-tuned layers, targets, heads, score, and options."""

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
    """A clip network with batch normalization; every frame influences the embedding."""

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


def create(**options):
    return SmallAE(EmbeddingAEOptions(hidden=[8, 4], **options), SPEC)


class Rows:
    """A loader of rows in batches of 4."""

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
    detector = create(**options).eval()
    detector.prepare(Rows(clips(20)))
    with torch.no_grad():
        detector.learn_heads(Rows(clips(20)))
    return detector


def step(detector, x, epoch=0, fine_tuning=False):
    """Take one training step like the loop; return its loss."""
    detector.train()
    detector.start_epoch(epoch, fine_tuning=fine_tuning)
    (optimizer,) = detector.optimizers().values()
    ((_, losses),) = detector.training_step(x)
    losses["loss"].backward()
    optimizer.step()
    return losses["loss"].detach()


# --- embedding ----------------------------------------------------------------------------------------------


def test_embeddings_are_bit_equal_in_any_batch():
    detector = create().eval()
    with torch.no_grad():
        whole = detector.embed(clips(7))
        alone = torch.cat([detector.embed(clip[None]) for clip in clips(7)])
    assert torch.equal(whole, alone)


def test_ignored_pixels_are_replaced_by_the_mean_color():
    detector = create().eval()
    region = torch.zeros(16, 16)
    region[:5] = 1
    detector.ignore(region)
    other = clips(2)
    other[..., :5, :] = 0.9
    with torch.no_grad():
        assert torch.equal(detector.embed(clips(2)), detector.embed(other))
        assert not torch.equal(detector.embed(clips(2)), create().eval().embed(clips(2)))


def test_the_embedding_key_depends_on_weights_region_and_view():
    plain = create()
    assert plain.embedding_key(0) == create().embedding_key(0)
    changed = create()
    changed.embedder.trunk.stem.bias.data[0] += 1e-6
    covered = create()
    covered.ignore(torch.eye(16))
    keys = {plain.embedding_key(0), changed.embedding_key(0), covered.embedding_key(0), plain.embedding_key(1)}
    assert len(keys) == 4
    assert create(seed=1).embedding_key(0) == plain.embedding_key(0)
    assert create(seed=1).embedding_key(1) != plain.embedding_key(1)


# --- learning -----------------------------------------------------------------------------------------------


def test_a_frozen_embedder_does_not_change():
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


def test_constant_dimensions_are_not_amplified():
    detector = create().eval()
    x = torch.randn(30, WIDTH, generator=torch.Generator().manual_seed(0))
    x[:, 3] = 0.5
    detector.prepare(Rows(x))
    assert 0 < float(detector.spread[3]) < 0.02
    detector.prepare(Rows(x[:1]))
    assert torch.equal(detector.spread, torch.ones(WIDTH))


def test_steps_on_embeddings_equal_steps_on_pixels():
    first, second = fitted(), fitted()
    with torch.no_grad():
        rows = first.embed(clips(8))
    torch.manual_seed(5)
    over_rows = step(first, rows)
    torch.manual_seed(5)
    over_pixels = step(second, clips(8))
    torch.testing.assert_close(over_rows, over_pixels)
    torch.testing.assert_close(first.net.state_dict(), second.net.state_dict())


def test_fine_tuning_changes_only_the_unfrozen_layers():
    detector = fitted(unfreeze=["last"])
    assert detector.fine_tunes and not fitted().fine_tunes
    first = detector.start_epoch(0, fine_tuning=False)
    step(detector, clips(8), epoch=1)
    before = copy.deepcopy(detector.embedder.state_dict())
    assert not any(p.requires_grad for p in detector.embedder.parameters())
    later = detector.start_epoch(2, fine_tuning=True)
    last = sum(p.numel() for p in detector.embedder.trunk.last.parameters())
    assert later["learning_parameters"] == first["learning_parameters"] + last
    assert later["parameters"] == first["parameters"] == sum(p.numel() for p in detector.parameters())
    step(detector, clips(8), epoch=2, fine_tuning=True)
    changed = {name for name, value in detector.embedder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"trunk.last.weight", "trunk.last.bias"}
    assert not detector.embedder.trunk.norm.training
    assert detector.start_epoch(3, fine_tuning=True) == {}
    assert detector.start_epoch(3, fine_tuning=False) == first
    assert not any(p.requires_grad for p in detector.embedder.parameters())


def test_the_whole_embedder_can_be_fine_tuned():
    detector = fitted(unfreeze=["all"])
    step(detector, clips(8), fine_tuning=True)
    assert all(p.requires_grad for p in detector.embedder.parameters())
    held = [p for group in detector.optimizers()["autoencoder"].param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(detector.parameters()))


def test_optimizers_hold_fine_tuned_layers_from_the_start_with_their_rate():
    (optimizer,) = create(unfreeze=["last", "last"], finetune_rate=3e-5).optimizers().values()
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
def test_epochs_are_split_between_the_stages(options, per_epoch, epochs, expected):
    assert create(unfreeze=["last"], **options).split_epochs(per_epoch, epochs) == expected


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({"finetune_from": 3}, 2), ({"finetune_epochs": 3}, 2), ({"finetune_from": 2, "finetune_epochs": 3}, 5)],
)
def test_a_training_without_fine_tuning_epochs_is_rejected(options, epochs):
    with pytest.raises(ConfigError, match=f"with epochs={epochs}: no epoch is left"):
        create(unfreeze=["last"], **options).split_epochs(1, epochs)


@pytest.mark.parametrize("options", [{"finetune_from": 3}, {"finetune_epochs": 3}])
def test_fine_tuning_options_without_unfreeze_are_rejected(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} without unfreeze"):
        EmbeddingAE.adapt_options(EmbeddingAEOptions(**options), data="videos", longer_side=0.5)


@pytest.mark.parametrize("target", ["detached", "teacher"])
def test_reconstruction_targets_have_no_gradient(target):
    detector = fitted(unfreeze=["all"], target=target)
    detector.start_epoch(0, fine_tuning=True)
    with torch.no_grad():
        initial = (detector.embed(clips(8)) - detector.center) / detector.spread
        detector.embedder.trunk.last.weight *= 0.5  # simulates fine-tuning
        current = (detector.embed(clips(8)) - detector.center) / detector.spread
    embedding, target_embedding = detector._inputs_and_targets(clips(8))
    assert embedding.requires_grad and not target_embedding.requires_grad
    torch.testing.assert_close(target_embedding, initial if target == "teacher" else current)


def test_shrinking_embeddings_are_logged(caplog):
    detector = fitted(unfreeze=["all"])
    step(detector, clips(16), fine_tuning=True)
    logged = detector.end_epoch()
    assert logged["embedding_spread"] == pytest.approx(1, abs=0.3)
    assert "shrink" not in caplog.text
    with torch.no_grad():
        detector.embedder.trunk.last.weight *= 0.1
    step(detector, clips(16), fine_tuning=True)
    assert detector.end_epoch()["embedding_spread"] < 0.3
    assert "shrink" in caplog.text
    assert detector.end_epoch() == {}  # no step since the last epoch


def validation_loss(detector, x):
    with torch.no_grad():
        return detector.eval().validation_step(x)["loss"].item()


def test_shrunk_embeddings_do_not_lower_the_validation_loss():
    """Embeddings and reconstructions shrink by half; the validation loss must not."""
    detector = fitted(unfreeze=["all"])
    before = validation_loss(detector, clips(8, seed=1))
    with torch.no_grad():
        detector.embedder.trunk.last.weight *= 0.5
        detector.embedder.trunk.last.bias *= 0.5
        detector.center *= 0.5
        detector.net = _Times(0.5, detector.net)
    assert validation_loss(detector, clips(8, seed=1)) == pytest.approx(before, rel=0.15)  # not a quarter


class _Times(torch.nn.Module):
    """Reconstructs scaled inputs as the net reconstructs unscaled ones."""

    def __init__(self, factor, net):
        super().__init__()
        self.factor, self.net = factor, net

    def forward(self, x):
        reconstructed, latent = self.net(x / self.factor)
        return self.factor * reconstructed, latent


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("target", ["detached", "teacher"])
def test_before_fine_tuning_the_validation_loss_equals_the_frozen_one(count, target):
    detector = fitted(unfreeze=["all"], target=target)
    with torch.no_grad():
        rows = detector.embed(clips(count, seed=1))
    detector.start_epoch(0, fine_tuning=True)
    assert validation_loss(detector, clips(count, seed=1)) == pytest.approx(validation_loss(detector, rows), rel=1e-5)


def test_views_of_pixels_depend_on_the_step_seed():
    detector = fitted(views=2, unfreeze=["last"])
    detector.start_epoch(0, fine_tuning=True)
    losses_by_seed = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        ((_, losses),) = copy.deepcopy(detector).training_step(clips(8))
        losses_by_seed.append(losses["loss"].item())
    assert losses_by_seed[0] == losses_by_seed[1] != losses_by_seed[2]


# --- scoring ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["ae", "centroid", "mahalanobis", "knn"])
def test_the_head_gives_the_score_and_all_heads_are_terms(head):
    detector = fitted(head=head, clusters=3)
    with torch.no_grad():
        output = detector(clips(5, seed=2))
    assert set(output.terms) == {"ae", "centroid", "mahalanobis", "knn", "latent"}
    assert torch.equal(output.score, output.terms[head])
    assert all(term.shape == (5, 1) for term in output.terms.values())
    assert output.map is None


def test_the_error_is_the_mean_square_of_the_standardized_embedding():
    detector = fitted()
    with torch.no_grad():
        x = (detector.embed(clips(5)) - detector.center) / detector.spread
        expected = (detector.net(x)[0] - x).numpy()
        errors = detector(clips(5)).terms["ae"]
    np.testing.assert_allclose(errors[:, 0], (expected**2).mean(1), rtol=1e-5)


def test_known_classes_define_the_centroids():
    detector = create().eval()
    with torch.no_grad():
        rows = detector.embed(clips(12))
        detector.prepare(Rows(rows))
        detector.learn_heads(Rows(rows, actions=["dive", "run", "kick"] * 4))
    x = ((rows - detector.center) / detector.spread).numpy()
    expected = [x[start::3].mean(0) for start in (0, 2, 1)]  # dive, kick, run
    np.testing.assert_allclose(detector.heads.centroids.means, expected, atol=1e-5)


def test_heads_learn_from_views():
    few, more = create().eval(), create(views=3).eval()
    for detector in (few, more):
        detector.prepare(Rows(clips(6)))
        with torch.no_grad():
            detector.learn_heads(Rows(clips(6)))
    assert len(few.heads.neighbors.kept) == 6
    assert len(more.heads.neighbors.kept) == 24


# --- options ------------------------------------------------------------------------------------------------


def clip_of(**options):
    return EmbeddingAEOptions(**options).clip_spec


def test_default_clips_match_the_training_of_the_embedder():
    assert clip_of() == ClipSpec(frames=8, hop=4, targets=())
    assert clip_of(embedder="r2plus1d_18") == ClipSpec(frames=16, fps=15.0, hop=8, targets=())
    assert clip_of(embedder="r2plus1d_18", clip_fps=0, frames=8, hop=3) == ClipSpec(frames=8, hop=3, targets=())
    assert clip_of(embedder="slowfast_r50", sampling="uniform") == ClipSpec(frames=32, sampling="uniform", targets=())
    assert clip_of(frames=1) == ClipSpec()
    assert EmbeddingAE.default_side(EmbeddingAEOptions(embedder="r2plus1d_18")) == 112


@pytest.mark.parametrize(("width", "expected"), [(512, [384, 256, 128]), (768, [512, 256, 128])])
def test_default_layers_are_the_published_ones(width, expected):
    assert EmbeddingAEOptions().layers(width) == expected
    assert EmbeddingAEOptions(hidden=[64, 32]).layers(width) == [64, 32]


def test_activity_clips_use_uniform_sampling_unless_windows_are_set():
    def sampling(data, **options):
        return EmbeddingAE.adapt_options(EmbeddingAEOptions(**options), data=data, longer_side=64).sampling

    assert [sampling(data) for data in ("clips", "videos", "images")] == ["uniform", "window", "window"]
    assert sampling("clips", hop=4) == sampling("clips", sampling="window") == "window"
    assert sampling("videos", sampling="uniform") == "uniform"


def test_images_are_single_frames():
    assert EmbeddingAE.adapt_options(EmbeddingAEOptions(), data="images", longer_side=64).frames == 1
    assert EmbeddingAE.adapt_options(EmbeddingAEOptions(), data="videos", longer_side=64).frames is None
    detector = SmallAE(EmbeddingAEOptions(frames=1, hidden=[8]), InputSpec(size=(16, 16)))
    with torch.no_grad():
        assert detector.eval()._embed_with(torch.rand(2, 3, 16, 16).expand(2, 3, 16, 16), _First()).shape == (2, WIDTH)


class _First(Small):
    """Accepts single frames."""

    def embed(self, x):
        assert x.shape[2] == 1
        return super().embed(x.expand(-1, -1, 3, -1, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "uniform", "hop": 2}, "hop with sampling=uniform"),
        ({"unfreeze": []}, "name a layer"),
        ({"target": "teacher"}, "without unfreeze"),
        ({"hidden": []}, "hidden"),
    ],
)
def test_contradicting_options_are_rejected(options, message):
    with pytest.raises(ValidationError, match=message):
        EmbeddingAEOptions(**options)


def test_weights_are_published_or_random(caplog, monkeypatch):
    loaded = []
    monkeypatch.setattr(Small, "load_pretrained", lambda self, weights: loaded.append(weights))
    create(weights="random").load_pretrained()
    assert loaded == [] and "random weights" in caplog.text
    create().load_pretrained()
    assert loaded == [None]
    with pytest.raises(ConfigError, match="no trainable part 'layer9'"):
        create(unfreeze=["layer9"]).load_pretrained()


def test_missing_published_weights_are_an_error_that_names_the_flag():
    spec = InputSpec(size=(32, 32), frames=8, targets=())
    detector = EmbeddingAE(EmbeddingAEOptions(embedder="slowfast_r50"), spec)
    with pytest.raises(WeightsError, match="--weights"):
        detector.load_pretrained()


def test_the_card_names_fine_tuned_layers():
    assert fitted().cards()[0].source == "random weights"
    assert fitted(unfreeze=["last"]).cards()[0].source == "random weights"  # no fine-tuning step yet
    detector = fitted(unfreeze=["last"])
    step(detector, clips(8), fine_tuning=True)
    with torch.no_grad():
        detector.learn_heads(Rows(clips(20)))
    assert detector.cards()[0].source == "random weights, last fine-tuned"


class Numbers:
    """A loader of the numbers 0 to count - 1."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        for start in range(0, self.count, 4):
            numbers = list(range(start, min(start + 4, self.count)))
            yield Batch(np.array(numbers), numbers, None)


@pytest.mark.parametrize(("limit", "expected"), [(100, list(range(11))), (6, [0, 2, 4, 6, 8, 10]), (2, [0, 6])])
def test_thinned_samples_are_spread_over_all_batches(limit, expected):
    batches = list(_thin_out(Numbers(11), limit))
    assert np.concatenate([batch.pixels for batch in batches]).tolist() == expected
    assert [sample for batch in batches for sample in batch.samples] == expected


def test_restored_weights_warn_about_their_license(caplog):
    detector = create()
    detector.restore_cards([{**detector.cards()[0].model_dump(), "non_commercial": True}])
    assert "weights of small: none, not for commercial use" in caplog.text
