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


def pictures(n=12, channels=1, seed=0, size=16):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


# --- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", CASES)
def test_the_networks_give_what_the_reference_gives(golden, case, mode):
    stored = golden("ganomaly_networks")
    made = from_recipe(stored[f"{case}_cfg"], int(stored["seed"])).train(mode == "train")
    x = torch.from_numpy(stored[f"{case}_x"])
    with torch.no_grad():
        x_hat, z, z_hat = made.generator(x)
        probability, features = made.discriminator(x)
        logits = made.discriminator.logits(x)[0]
    found = {"xhat": x_hat, "z": z, "zhat": z_hat, "d_prob": probability, "d_feat": features, "d_logit": logits}
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), stored[f"{case}_{mode}_{name}"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_names_shapes_and_their_order_are_the_references(golden, case):
    stored = golden("ganomaly_networks")
    made = from_recipe(stored[f"{case}_cfg"], 0)
    for network, expected in ((made.generator, "netg"), (made.discriminator, "netd")):
        rows = [f"{k}|{name}|{tuple(v.shape)}" for k, (name, v) in enumerate(network.state_dict().items())]
        assert rows == stored[f"{case}_{expected}_names"].tolist()
    numbers = [sum(p.numel() for p in net.parameters()) for net in (made.generator, made.discriminator)]
    assert numbers == stored[f"{case}_nparams"].tolist()


def test_weights_start_as_in_dcgan():
    made = Ganomaly.create(32, 3, 50, 64)
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.bias is None
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean().item()) < 1e-3
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not module.bias.any()
    encoders = [made.generator.encoder1, made.generator.encoder2]
    assert not torch.equal(*(next(net.parameters()) for net in encoders))


def test_the_start_is_that_of_the_seed():
    a, b, other = small(seed=3), small(seed=3), small(seed=4)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(48, "32 or 64"), (80, "64 or 128"), (224, "256 or 128"), (17, "16 or 32"), (8, "16"), (1, "16"), (100, "128 or")],
)
def test_other_sizes_are_refused_with_the_nearest(size, nearest):
    with pytest.raises(ConfigError, match=rf"{size} x {size} pixels.*power of two.*nearest is {nearest}"):
        Ganomaly.create(size)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_powers_of_two_work(size):
    x_hat, z, z_hat = Ganomaly.create(size, 3, 5, 2).generator(pictures(2, 3, size=size))
    assert (x_hat.shape, z.shape, z_hat.shape) == ((2, 3, size, size), (2, 5, 1, 1), (2, 5, 1, 1))


# --- the two ways to make one -----------------------------------------------------------------------------------


def test_made_of_options_it_is_the_same_as_made_of_numbers():
    mine = Ganomaly.create(32, 1, latent=7, width=4, extra_layers=1, seed=2, score="contextual")
    spec = InputSpec(size=(32, 32), channels=1)
    options = GanomalyOptions(channels=1, latent=7, width=4, extra_layers=1, seed=2, score="contextual")
    theirs = Ganomaly(options, spec)
    assert (theirs.options, theirs.input) == (mine.options, spec)
    assert mine.input.size == (32, 32)
    assert mine.input.resize.policy == "stretch"
    assert all(torch.equal(p, q) for p, q in zip(mine.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (InputSpec(size=(32, 64)), "32 x 64"),
        (InputSpec(size=(32, 32), channels=1), "3 channel.*1 channel"),
        (InputSpec(size=(32, 32), frames=2), "2 frame"),
        (InputSpec(size=(48, 48)), "power of two"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(spec, named):
    with pytest.raises(ConfigError, match=named):
        Ganomaly(GanomalyOptions(), spec)


def test_wrong_options_are_explained():
    with pytest.raises(ConfigError, match="channels"):
        Ganomaly.create(32, 2)
    with pytest.raises(ConfigError, match="unknown key 'widht': did you mean 'width'"):
        Ganomaly.create(32, widht=3)


# --- training ---------------------------------------------------------------------------------------------------


def test_three_steps_equal_the_reference(golden):
    stored = golden("ganomaly_losses")
    made = from_recipe(stored["cfg"], int(stored["seed"]))
    sums = []

    def note(detector, losses):
        for network in (detector.generator, detector.discriminator):
            state = {name: value.double() for name, value in network.state_dict().items()}
            sums.append((list(state), [(float(v.sum()), float(v.abs().sum())) for v in state.values()]))

    steps = train(made, (torch.from_numpy(stored["x"]) + 1) / 2, note)
    names = {"err_g_adv": "adversarial", "err_g_con": "contextual", "err_g_enc": "latent", "err_g": "loss"}
    for key, name in names.items():
        np.testing.assert_allclose([step["generator"][name] for step in steps], stored[key], rtol=1e-4, err_msg=key)
    for key, name in {"err_d": "loss", "err_d_real": "real", "err_d_fake": "fake"}.items():
        np.testing.assert_allclose([step["discriminator"][name] for step in steps], stored[key], rtol=1e-4, err_msg=key)
    for number, (entries, found) in enumerate(sums):
        key = f"step{number // 2}_{'gd'[number % 2]}"
        own = [  # the discriminator's running statistics see two passes a step, the reference's four
            k for k, entry in enumerate(entries) if key.endswith("g") or not re.search(r"\.(running|num)_", entry)
        ]
        total, size = np.array(found).T
        np.testing.assert_allclose(size[own], stored[f"{key}_abs"][own], rtol=1e-3, atol=1e-6, err_msg=key)
        scale = 1e-3 * np.maximum(stored[f"{key}_abs"], 1e-3)
        assert (np.abs(total - stored[f"{key}_sum"])[own] <= scale[own]).all(), key
    tracked = {name: int(v) for name, v in made.state_dict().items() if name.endswith("num_batches_tracked")}
    assert {v for name, v in tracked.items() if name.startswith("generator")} == {3}
    assert {v for name, v in tracked.items() if name.startswith("discriminator")} == {6}


def test_steps_equal_the_published_step_written_down_plainly():
    made = small()
    plain = copy.deepcopy(made)
    optimizers = [Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (plain.generator, plain.discriminator)]
    batches = [pictures(8, seed=k) for k in range(4)]
    for batch, step in zip(batches, train(made, batches), strict=True):
        expected = reference_step(plain.generator, plain.discriminator, *optimizers, 2 * batch - 1)
        g, d = step["generator"], step["discriminator"]
        found = [g["adversarial"], g["contextual"], g["latent"], d["real"], d["fake"]]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_generators_gradient_is_that_of_its_losses_and_leaves_the_discriminator_alone():
    made = small().train()
    name, losses = next(made.training_step(pictures()))
    losses["loss"].backward()
    assert name == "generator"
    assert all(p.grad is None for p in made.discriminator.parameters())
    real = 2 * pictures() - 1
    fake, z, z_hat = made.generator(real)
    features = [made.discriminator(x)[1] for x in (real, fake)]
    expected = ((features[0] - features[1]) ** 2).mean() + 50 * (fake - real).abs().mean() + ((z_hat - z) ** 2).mean()
    wanted = torch.autograd.grad(expected, list(made.generator.parameters()))
    for p, value in zip(made.generator.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, value, rtol=1e-3, atol=1e-5)


def test_weights_of_the_losses_are_options():
    made = small(adversarial_weight=0, contextual_weight=2, latent_weight=0.5)
    _, losses = next(made.train().training_step(pictures()))
    assert losses["loss"].item() == pytest.approx(2 * losses["contextual"].item() + 0.5 * losses["latent"].item())
    found = made.eval().validation_step(pictures())
    assert found["loss"].item() == pytest.approx(2 * found["contextual"].item() + 0.5 * found["latent"].item())
    assert set(found) == {"loss", "contextual", "latent"}


def test_a_collapsed_discriminator_starts_anew_with_its_optimizer():
    made = small(collapse=100.0)  # any loss is below
    before = [p.clone() for p in made.discriminator.parameters()]
    optimizers = made.train().optimizers()
    for name, losses in made.training_step(pictures()):
        optimizers[name].zero_grad()
        losses["loss"].backward()
        optimizers[name].step()
    assert not optimizers["discriminator"].state
    assert optimizers["generator"].state
    assert int(made.restarts) == 1
    for module in made.discriminator.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert int(module.num_batches_tracked) == 0
            assert not module.running_mean.any()
    after = list(made.discriminator.parameters())
    assert not any(torch.equal(p, q) for p, q in zip(before, after, strict=True) if p.ndim == 4)
    assert after[0].std().item() == pytest.approx(0.02, rel=0.3)
    kept = small(collapse=1e-9)
    train(kept, [pictures()])
    assert int(kept.restarts) == 0


def test_processes_that_train_together_find_a_collapse_together(monkeypatch):
    others = torch.tensor(0.5)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda loss: loss.add_(others))
    own = torch.tensor(0.1)
    assert small(collapse=0.31)._collapsed(own)
    assert not small(collapse=0.29)._collapsed(own)  # although the own loss is below
    assert own == 0.1


def test_weights_stay_laid_out_for_fast_convolutions():
    assert (
        Ganomaly.create(32, 3, 8, 4).generator.decoder.main[3].weight.is_contiguous(memory_format=torch.channels_last)
    )


# --- scoring ----------------------------------------------------------------------------------------------------


def scored(stored, batch_size, **options):
    made = from_recipe(stored["cfg"], int(stored["seed"]), **options)
    x = (torch.from_numpy(stored["x"]) + 1) / 2
    with torch.inference_mode():
        return np.concatenate([made(batch).score[:, 0].numpy() for batch in torch.split(x, batch_size)])


def test_scores_equal_the_reference_in_its_evaluation_mode(golden):
    stored = golden("ganomaly_scores")
    found = scored(stored, 8)
    np.testing.assert_allclose(found, stored["eval_raw"], atol=1e-4)
    np.testing.assert_allclose(scored(stored, 3), found, rtol=1e-5)
    assert image.auroc(stored["y"], found.astype(np.float64)) == pytest.approx(float(stored["eval_auc"]), abs=1e-9)
    assert image.average_precision(stored["y"], found.astype(np.float64)) == pytest.approx(float(stored["eval_auprc"]))


def test_batch_statistics_give_the_published_scores(golden):
    stored = golden("ganomaly_scores")
    found = scored(stored, int(stored["batchsize"]), batch_statistics=True)
    np.testing.assert_allclose(found, stored["train_raw"], atol=1e-4)
    np.testing.assert_allclose(scored(stored, 1, batch_statistics=True), stored["train_bs1_raw"], atol=1e-4)
    assert image.auroc(stored["y"], found.astype(np.float64)) == pytest.approx(float(stored["train_auc"]), abs=1e-9)


def test_batch_statistics_learn_nothing_from_the_batch_but_do_in_training():
    made = small(batch_statistics=True, score="latent")
    train(made, [pictures()])
    made.finish([])
    state = {name: value.clone() for name, value in made.eval().state_dict().items()}
    made(pictures(5, seed=9))
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())
    train(made, [pictures()])
    counts = {int(v) for name, v in made.generator.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {2}


@pytest.mark.parametrize(("mode", "batch"), [("eval", 22), ("train", 8)])
def test_the_papers_distance(golden, mode, batch):
    stored = golden("ganomaly_scores")
    found = scored(stored, batch, distance="l1", batch_statistics=mode == "train")
    gap = np.abs(stored[f"{mode}_z"] - stored[f"{mode}_zhat"])
    np.testing.assert_allclose(found, gap.mean(1), atol=1e-4)
    np.testing.assert_allclose(found / stored[f"{mode}_l1"], found[0] / stored[f"{mode}_l1"][0], rtol=1e-4)


def test_map_and_contextual_part_are_the_residual():
    made = from_recipe(json.dumps({"isize": 16, "nc": 3, "nz": 6, "ngf": 4}), 1, score="contextual", sigma=1.5)
    x = pictures(3, 3)
    output = made(x)
    residual = np.abs(made.generator(2 * x - 1)[0].detach().numpy() - (2 * x - 1).numpy())
    np.testing.assert_allclose(output.score[:, 0].detach(), residual.mean((1, 2, 3)), rtol=1e-4)
    assert torch.equal(output.score, output.terms["contextual"])
    expected = smooth(torch.from_numpy(residual.mean(1)), 1.5)
    torch.testing.assert_close(output.map[:, 0].detach(), expected, rtol=1e-4, atol=1e-5)
    assert not made.pools_map


def test_reconstructions_lie_in_the_range_of_pixels():
    made, x = small(), pictures(2)
    torch.testing.assert_close(made.eval().reconstruct(x), (made.generator(2 * x - 1)[0] + 1) / 2)


def test_an_ignored_region_changes_nothing():
    made = from_recipe(json.dumps({"isize": 16, "nc": 1, "nz": 6, "ngf": 4}), 1)
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:, 10:] = True
    made.ignore(region)
    x = pictures(2)
    other = torch.where(region, 1 - x, x)
    first, second = made(x), made(other)
    assert torch.equal(first.score, second.score)
    assert torch.equal(first.map, second.map)
    assert not first.map[..., 10:].any()
    _, a = next(made.train().training_step(x))
    _, b = next(made.training_step(other))
    assert a["loss"].item() == pytest.approx(b["loss"].item())


def test_before_the_fit_there_are_no_scores():
    with pytest.raises(NotFittedError, match="offnormal fit ganomaly"):
        small().eval()(pictures())


class Stub(nn.Module):
    """A generator that knows one picture; what it does not know changes the reconstruction, or the latent vectors."""

    def __init__(self, known, tells):
        super().__init__()
        self.known, self.tells = known, tells

    def forward(self, x):
        strange = (x - self.known).abs().mean((1, 2, 3), keepdim=True)
        nothing = torch.zeros_like(strange)
        return (
            self.known.expand_as(x) if "contextual" in self.tells else x,
            nothing,
            strange if "latent" in self.tells else nothing,
        )


@pytest.mark.parametrize(
    ("tells", "score", "taken"),
    [
        ("contextual", "auto", "contextual"),
        ("latent", "auto", "latent"),
        ("both latent and contextual", "auto", "latent"),
        ("latent", "contextual", "contextual"),
        ("contextual", "latent", "latent"),
    ],
)
def test_the_score_is_the_papers_unless_pasted_pieces_are_told_clearly_better_by_the_other(tells, score, taken):
    known = pictures(1)
    batches = [Batch((known + 0.01 * pictures(20, seed=k)).clamp(0, 1).numpy(), [], None) for k in (1, 2)]
    made = small(score=score).eval()
    made.generator = Stub(2 * known - 1, tells)
    with torch.no_grad():
        made.finish(batches)
        output = made(pictures(3, seed=5))
    assert made.scores_by == taken
    assert torch.equal(output.score, output.terms[taken])


def test_without_normals_kept_back_the_score_is_the_papers():
    made = small()
    made.finish([])
    assert made.scores_by == "latent"


def test_published_weights_are_scored_as_they_were_unless_it_is_said():
    for score, taken in (("auto", "latent"), ("latent", "latent"), ("contextual", "contextual")):
        made = small(score=score)
        made.load_reference_state_dict(recipe(made.generator, 1, 0))
        assert made.scores_by == taken


# --- published weights ------------------------------------------------------------------------------------------


def test_weights_come_by_name_in_any_order_and_with_the_prefix_of_several_devices():
    made, other = small(seed=1), small(seed=2)
    state = recipe(made.generator, 5, 0)
    shuffled = {f"module.{name}": state[name] for name in sorted(state, reverse=True)}
    other.load_reference_state_dict(shuffled)
    assert all(torch.equal(value, state[name]) for name, value in other.generator.state_dict().items())
    assert other.is_fitted


def test_weights_of_other_names_come_in_their_order():
    made = small()
    state = recipe(made.generator, 5, 0)
    made.load_reference_state_dict({f"entry {k}": value for k, value in enumerate(state.values())})
    assert all(torch.equal(value, state[name]) for name, value in made.generator.state_dict().items())


def test_counters_may_be_missing_as_in_old_files():
    made = small()
    state = recipe(made.generator, 5, 0)
    made.load_reference_state_dict({name: v for name, v in state.items() if not name.endswith("num_batches_tracked")})
    assert made.is_fitted


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
def test_weights_that_do_not_fit_are_explained_and_nothing_is_taken(change, message):
    made = small()
    state = recipe(made.generator, 5, 0)
    change(state)
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(WeightsError, match=f"netG.*{message}"):
        made.load_reference_state_dict(state, recipe(made.discriminator, 5, 500))
    with pytest.raises(WeightsError, match="netD"):
        made.load_reference_state_dict(recipe(made.generator, 5, 0), {"features.0.weight": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert not made.is_fitted
