import copy
import json
import re

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.optim import Adam

from offnormal.data.batches import Batch
from offnormal.detectors.ganomaly import Ganomaly, GanomalyOptions
from offnormal.detectors.parts.maps import smooth
from offnormal.errors import ConfigError, NotFittedError, WeightsError
from offnormal.metrics import image
from offnormal.types import InputSpec
from tests.detectors.ganomaly.reference import from_recipe, recipe, reference_step, train

CASES = ("c0", "c1", "c2")


@pytest.fixture(autouse=True)
def _one_thread_of_float32():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**further):
    return Ganomaly.create(16, 1, 6, 4, **further)


def images(n=12, channels=1, seed=0, size=16):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


# --- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", CASES)
def test_network_outputs_equal_the_reference(golden, case, mode):
    stored = golden("ganomaly_networks")
    detector = from_recipe(stored[f"{case}_cfg"], int(stored["seed"])).train(mode == "train")
    x = torch.from_numpy(stored[f"{case}_x"])
    with torch.no_grad():
        x_hat, z, z_hat = detector.generator(x)
        probability, features = detector.discriminator(x)
        logits = detector.discriminator.logits(x)[0]
    actual = {"xhat": x_hat, "z": z, "zhat": z_hat, "d_prob": probability, "d_feat": features, "d_logit": logits}
    for name, value in actual.items():
        np.testing.assert_allclose(value.numpy(), stored[f"{case}_{mode}_{name}"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_names_shapes_and_order_equal_the_reference(golden, case):
    stored = golden("ganomaly_networks")
    detector = from_recipe(stored[f"{case}_cfg"], 0)
    for network, expected in ((detector.generator, "netg"), (detector.discriminator, "netd")):
        rows = [f"{k}|{name}|{tuple(v.shape)}" for k, (name, v) in enumerate(network.state_dict().items())]
        assert rows == stored[f"{case}_{expected}_names"].tolist()
    numbers = [sum(p.numel() for p in net.parameters()) for net in (detector.generator, detector.discriminator)]
    assert numbers == stored[f"{case}_nparams"].tolist()


def test_initial_weights_are_those_of_dcgan():
    detector = Ganomaly.create(32, 3, 50, 64)
    for module in detector.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.bias is None
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean().item()) < 1e-3
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not module.bias.any()
    encoders = [detector.generator.encoder1, detector.generator.encoder2]
    assert not torch.equal(*(next(net.parameters()) for net in encoders))


def test_the_seed_determines_the_initial_weights():
    a, b, other = small(seed=3), small(seed=3), small(seed=4)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(48, "32 or 64"), (80, "64 or 128"), (224, "256 or 128"), (17, "16 or 32"), (8, "16"), (1, "16"), (100, "128 or")],
)
def test_other_sizes_are_rejected_with_the_nearest(size, nearest):
    with pytest.raises(ConfigError, match=rf"{size}x{size} pixels.*power of two.*nearest is {nearest}"):
        Ganomaly.create(size)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_powers_of_two_work(size):
    x_hat, z, z_hat = Ganomaly.create(size, 3, 5, 2).generator(images(2, 3, size=size))
    assert (x_hat.shape, z.shape, z_hat.shape) == ((2, 3, size, size), (2, 5, 1, 1), (2, 5, 1, 1))


# --- the two ways to make one -----------------------------------------------------------------------------------


def test_create_equals_the_constructor():
    mine = Ganomaly.create(32, 1, latent=7, width=4, extra_layers=1, seed=2, score="contextual")
    spec = InputSpec(size=(32, 32), channels=1)
    options = GanomalyOptions(channels=1, latent=7, width=4, extra_layers=1, seed=2, score="contextual")
    theirs = Ganomaly(options, spec)
    assert (theirs.options, theirs.input) == (mine.options, spec)
    assert mine.input.size == (32, 32)
    assert mine.input.resize.policy == "stretch"
    assert all(torch.equal(p, q) for p, q in zip(mine.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (InputSpec(size=(32, 64)), "32x64"),
        (InputSpec(size=(32, 32), channels=1), "channels=1.*channels=3"),
        (InputSpec(size=(32, 32), frames=2), "frames=2.*frames=1"),
        (InputSpec(size=(48, 48)), "power of two"),
    ],
)
def test_unsupported_inputs_are_rejected(spec, message):
    with pytest.raises(ConfigError, match=message):
        Ganomaly(GanomalyOptions(), spec)


def test_wrong_options_are_explained():
    with pytest.raises(ConfigError, match="channels"):
        Ganomaly.create(32, 2)
    with pytest.raises(ConfigError, match="unknown key 'widht': did you mean 'width'"):
        Ganomaly.create(32, widht=3)


# --- training ---------------------------------------------------------------------------------------------------


def test_three_steps_equal_the_reference(golden):
    stored = golden("ganomaly_losses")
    detector = from_recipe(stored["cfg"], int(stored["seed"]))
    sums = []

    def note(detector, losses):
        for network in (detector.generator, detector.discriminator):
            state = {name: value.double() for name, value in network.state_dict().items()}
            sums.append((list(state), [(float(v.sum()), float(v.abs().sum())) for v in state.values()]))

    steps = train(detector, (torch.from_numpy(stored["x"]) + 1) / 2, note)
    names = {"err_g_adv": "adversarial", "err_g_con": "contextual", "err_g_enc": "latent", "err_g": "loss"}
    for key, name in names.items():
        np.testing.assert_allclose([step["generator"][name] for step in steps], stored[key], rtol=1e-4, err_msg=key)
    for key, name in {"err_d": "loss", "err_d_real": "real", "err_d_fake": "fake"}.items():
        np.testing.assert_allclose([step["discriminator"][name] for step in steps], stored[key], rtol=1e-4, err_msg=key)
    for number, (entries, entry_sums) in enumerate(sums):
        key = f"step{number // 2}_{'gd'[number % 2]}"
        compared = [  # the discriminator's running statistics see two passes per step, the reference's four
            k for k, entry in enumerate(entries) if key.endswith("g") or not re.search(r"\.(running|num)_", entry)
        ]
        total, size = np.array(entry_sums).T
        np.testing.assert_allclose(size[compared], stored[f"{key}_abs"][compared], rtol=1e-3, atol=1e-6, err_msg=key)
        scale = 1e-3 * np.maximum(stored[f"{key}_abs"], 1e-3)
        assert (np.abs(total - stored[f"{key}_sum"])[compared] <= scale[compared]).all(), key
    tracked = {name: int(v) for name, v in detector.state_dict().items() if name.endswith("num_batches_tracked")}
    assert {v for name, v in tracked.items() if name.startswith("generator")} == {3}
    assert {v for name, v in tracked.items() if name.startswith("discriminator")} == {6}


def test_steps_equal_a_plain_published_step():
    detector = small()
    plain = copy.deepcopy(detector)
    optimizers = [Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (plain.generator, plain.discriminator)]
    batches = [images(8, seed=k) for k in range(4)]
    for batch, step in zip(batches, train(detector, batches), strict=True):
        expected = reference_step(plain.generator, plain.discriminator, *optimizers, 2 * batch - 1)
        g, d = step["generator"], step["discriminator"]
        actual = [g["adversarial"], g["contextual"], g["latent"], d["real"], d["fake"]]
        np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_the_generator_gradient_is_exact_and_spares_the_discriminator():
    detector = small().train()
    name, losses = next(detector.training_step(images()))
    losses["loss"].backward()
    assert name == "generator"
    assert all(p.grad is None for p in detector.discriminator.parameters())
    real = 2 * images() - 1
    fake, z, z_hat = detector.generator(real)
    features = [detector.discriminator(x)[1] for x in (real, fake)]
    expected = ((features[0] - features[1]) ** 2).mean() + 50 * (fake - real).abs().mean() + ((z_hat - z) ** 2).mean()
    gradients = torch.autograd.grad(expected, list(detector.generator.parameters()))
    for p, value in zip(detector.generator.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, value, rtol=1e-3, atol=1e-5)


def test_options_weight_the_losses():
    detector = small(adversarial_weight=0, contextual_weight=2, latent_weight=0.5)
    _, losses = next(detector.train().training_step(images()))
    assert losses["loss"].item() == pytest.approx(2 * losses["contextual"].item() + 0.5 * losses["latent"].item())
    losses = detector.eval().validation_step(images())
    assert losses["loss"].item() == pytest.approx(2 * losses["contextual"].item() + 0.5 * losses["latent"].item())
    assert set(losses) == {"loss", "contextual", "latent"}


def test_a_collapsed_discriminator_restarts_with_its_optimizer():
    detector = small(collapse=100.0)  # every loss is below
    before = [p.clone() for p in detector.discriminator.parameters()]
    optimizers = detector.train().optimizers()
    for name, losses in detector.training_step(images()):
        optimizers[name].zero_grad()
        losses["loss"].backward()
        optimizers[name].step()
    assert not optimizers["discriminator"].state
    assert optimizers["generator"].state
    assert int(detector.restarts) == 1
    for module in detector.discriminator.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert int(module.num_batches_tracked) == 0
            assert not module.running_mean.any()
    after = list(detector.discriminator.parameters())
    assert not any(torch.equal(p, q) for p, q in zip(before, after, strict=True) if p.ndim == 4)
    assert after[0].std().item() == pytest.approx(0.02, rel=0.3)
    stable = small(collapse=1e-9)
    train(stable, [images()])
    assert int(stable.restarts) == 0


def test_processes_detect_a_collapse_together(monkeypatch):
    remote_loss = torch.tensor(0.5)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda loss: loss.add_(remote_loss))
    local_loss = torch.tensor(0.1)
    assert small(collapse=0.31)._has_collapsed(local_loss)
    assert not small(collapse=0.29)._has_collapsed(local_loss)  # although the local loss is below
    assert local_loss == 0.1


def test_weights_are_stored_channels_last():
    assert (
        Ganomaly.create(32, 3, 8, 4).generator.decoder.main[3].weight.is_contiguous(memory_format=torch.channels_last)
    )


# --- scoring ----------------------------------------------------------------------------------------------------


def score_in_batches(stored, batch_size, **options):
    detector = from_recipe(stored["cfg"], int(stored["seed"]), **options)
    x = (torch.from_numpy(stored["x"]) + 1) / 2
    with torch.inference_mode():
        return np.concatenate([detector(batch).score[:, 0].numpy() for batch in torch.split(x, batch_size)])


def test_scores_equal_the_reference_in_its_evaluation_mode(golden):
    stored = golden("ganomaly_scores")
    scores = score_in_batches(stored, 8)
    np.testing.assert_allclose(scores, stored["eval_raw"], atol=1e-4)
    np.testing.assert_allclose(score_in_batches(stored, 3), scores, rtol=1e-5)
    assert image.auroc(stored["y"], scores.astype(np.float64)) == pytest.approx(float(stored["eval_auc"]), abs=1e-9)
    assert image.average_precision(stored["y"], scores.astype(np.float64)) == pytest.approx(float(stored["eval_auprc"]))


def test_batch_statistics_reproduce_the_published_scores(golden):
    stored = golden("ganomaly_scores")
    scores = score_in_batches(stored, int(stored["batchsize"]), batch_statistics=True)
    np.testing.assert_allclose(scores, stored["train_raw"], atol=1e-4)
    np.testing.assert_allclose(score_in_batches(stored, 1, batch_statistics=True), stored["train_bs1_raw"], atol=1e-4)
    assert image.auroc(stored["y"], scores.astype(np.float64)) == pytest.approx(float(stored["train_auc"]), abs=1e-9)


def test_batch_statistics_change_only_in_training():
    detector = small(batch_statistics=True, score="latent")
    train(detector, [images()])
    detector.finish([])
    state = {name: value.clone() for name, value in detector.eval().state_dict().items()}
    detector(images(5, seed=9))
    assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
    train(detector, [images()])
    counts = {int(v) for name, v in detector.generator.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {2}


@pytest.mark.parametrize(("mode", "batch"), [("eval", 22), ("train", 8)])
def test_the_l1_distance_is_that_of_the_paper(golden, mode, batch):
    stored = golden("ganomaly_scores")
    scores = score_in_batches(stored, batch, distance="l1", batch_statistics=mode == "train")
    difference = np.abs(stored[f"{mode}_z"] - stored[f"{mode}_zhat"])
    np.testing.assert_allclose(scores, difference.mean(1), atol=1e-4)
    np.testing.assert_allclose(scores / stored[f"{mode}_l1"], scores[0] / stored[f"{mode}_l1"][0], rtol=1e-4)


def test_map_and_contextual_term_are_the_residual():
    detector = from_recipe(json.dumps({"isize": 16, "nc": 3, "nz": 6, "ngf": 4}), 1, score="contextual", sigma=1.5)
    x = images(3, 3)
    output = detector(x)
    residual = np.abs(detector.generator(2 * x - 1)[0].detach().numpy() - (2 * x - 1).numpy())
    np.testing.assert_allclose(output.score[:, 0].detach(), residual.mean((1, 2, 3)), rtol=1e-4)
    assert torch.equal(output.score, output.terms["contextual"])
    expected = smooth(torch.from_numpy(residual.mean(1)), 1.5)
    torch.testing.assert_close(output.map[:, 0].detach(), expected, rtol=1e-4, atol=1e-5)
    assert not detector.pools_map


def test_reconstructions_are_in_the_range_of_pixels():
    detector, x = small(), images(2)
    torch.testing.assert_close(detector.eval().reconstruct(x), (detector.generator(2 * x - 1)[0] + 1) / 2)


def test_an_ignored_region_changes_nothing():
    detector = from_recipe(json.dumps({"isize": 16, "nc": 1, "nz": 6, "ngf": 4}), 1)
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:, 10:] = True
    detector.ignore(region)
    x = images(2)
    other = torch.where(region, 1 - x, x)
    first, second = detector(x), detector(other)
    assert torch.equal(first.score, second.score)
    assert torch.equal(first.map, second.map)
    assert not first.map[..., 10:].any()
    _, a = next(detector.train().training_step(x))
    _, b = next(detector.training_step(other))
    assert a["loss"].item() == pytest.approx(b["loss"].item())


def test_scoring_before_the_fit_is_an_error():
    with pytest.raises(NotFittedError, match="offnormal fit ganomaly"):
        small().eval()(images())


class Stub(nn.Module):
    """A generator that knows one image; unknown content changes the reconstruction or the latent vectors."""

    def __init__(self, known_image, reacts_in):
        super().__init__()
        self.known_image, self.reacts_in = known_image, reacts_in

    def forward(self, x):
        strange = (x - self.known_image).abs().mean((1, 2, 3), keepdim=True)
        nothing = torch.zeros_like(strange)
        return (
            self.known_image.expand_as(x) if "contextual" in self.reacts_in else x,
            nothing,
            strange if "latent" in self.reacts_in else nothing,
        )


@pytest.mark.parametrize(
    ("reacts_in", "score", "expected"),
    [
        ("contextual", "auto", "contextual"),
        ("latent", "auto", "latent"),
        ("both latent and contextual", "auto", "latent"),
        ("latent", "contextual", "contextual"),
        ("contextual", "latent", "latent"),
    ],
)
def test_the_score_is_latent_unless_contextual_detects_patches_clearly_better(reacts_in, score, expected):
    known_image = images(1)
    batches = [Batch((known_image + 0.01 * images(20, seed=k)).clamp(0, 1).numpy(), [], None) for k in (1, 2)]
    detector = small(score=score).eval()
    detector.generator = Stub(2 * known_image - 1, reacts_in)
    with torch.no_grad():
        detector.finish(batches)
        output = detector(images(3, seed=5))
    assert detector.score_term == expected
    assert torch.equal(output.score, output.terms[expected])


def test_without_held_out_normals_the_score_is_latent():
    detector = small()
    detector.finish([])
    assert detector.score_term == "latent"


def test_published_weights_use_the_latent_score_by_default():
    for score, expected in (("auto", "latent"), ("latent", "latent"), ("contextual", "contextual")):
        detector = small(score=score)
        detector.load_reference_state_dict(recipe(detector.generator, 1, 0))
        assert detector.score_term == expected


# --- published weights ------------------------------------------------------------------------------------------


def test_weights_load_by_name_in_any_order_and_with_the_module_prefix():
    detector, other = small(seed=1), small(seed=2)
    state = recipe(detector.generator, 5, 0)
    shuffled = {f"module.{name}": state[name] for name in sorted(state, reverse=True)}
    other.load_reference_state_dict(shuffled)
    assert all(torch.equal(value, state[name]) for name, value in other.generator.state_dict().items())
    assert other.is_fitted


def test_weights_with_other_names_load_by_order():
    detector = small()
    state = recipe(detector.generator, 5, 0)
    detector.load_reference_state_dict({f"entry {k}": value for k, value in enumerate(state.values())})
    assert all(torch.equal(value, state[name]) for name, value in detector.generator.state_dict().items())


def test_old_files_without_counters_load():
    detector = small()
    state = recipe(detector.generator, 5, 0)
    detector.load_reference_state_dict(
        {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
    )
    assert detector.is_fitted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("encoder2.main.initial-conv-1-4.weight"), r"1 missing: encoder2\.main\.initial-conv"),
        (lambda state: state.update(more=torch.zeros(1)), "1 unknown: more"),
        (
            lambda state: state.update({"encoder1.main.final-8-1-conv.weight": torch.zeros(7, 8, 4, 4)}),
            r"1 of another shape: encoder1\.main\.final-8-1-conv\.weight is 7 x 8 x 4 x 4, expected 6 x 8 x 4 x 4",
        ),
    ],
)
def test_mismatched_weights_are_explained_and_nothing_is_loaded(change, message):
    detector = small()
    state = recipe(detector.generator, 5, 0)
    change(state)
    before = copy.deepcopy(detector.state_dict())
    with pytest.raises(WeightsError, match=f"netG.*{message}"):
        detector.load_reference_state_dict(state, recipe(detector.discriminator, 5, 500))
    with pytest.raises(WeightsError, match="netD"):
        detector.load_reference_state_dict(recipe(detector.generator, 5, 0), {"features.0.weight": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert not detector.is_fitted
