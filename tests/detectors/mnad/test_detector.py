import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim import Adam

from offnormal.data.batches import Batch
from offnormal.data.images import to_pixels
from offnormal.detectors.mnad import MNAD, MNADOptions
from offnormal.detectors.parts.maps import smooth
from offnormal.detectors.parts.memory import compactness, read_items, separateness, update_items
from offnormal.detectors.parts.stream_states import InOrder
from offnormal.errors import ConfigError, NotFittedError, WeightsError
from offnormal.types import InputSpec
from tests.detectors.mnad.reference import clips_of, from_recipe, reference_state
from tests.items import sample

METHODS = ("pred", "recon")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(method="pred", **further):
    return MNAD.create(method, (16, 24), **{"width": 4, "memory_size": 5, **further})


def pixels(made, n=6, seed=0):
    frames = (made.input.frames,) if made.input.frames > 1 else ()
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, made.input.channels, *frames, *made.input.size, generator=random)


def fitted(made, seed=1):
    made.eval()
    with torch.no_grad():
        made.finish([Batch(pixels(made, seed=seed).numpy(), [sample(f"{seed}")] * 6, None, None)])
    return made


def reference_clip(stored, method):
    """The network's input and the frame it is to make, in [-1, 1], as the golden file has them."""
    clip = torch.from_numpy(stored["clip"])
    return (clip[:, :12], clip[:, 12:]) if method == "pred" else (clip, clip)


# --- the network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_network_gives_what_the_reference_gives(golden, method):
    stored = golden(f"mnad_{method}_forward")
    made = from_recipe(method, int(stored["seed"]), stored["keys_in"])
    frames, _ = reference_clip(stored, method)
    with torch.no_grad():
        frame, query = made.net(frames, made.items)
        features, score_query, score_memory = read_items(query, made.items)
        quick, _ = made._made(frames, made.items)
    for found, name in (
        (frame, "output"),
        (quick, "output"),
        (query, "fea"),
        (features[:, ::64], "updated_fea_channels"),
    ):
        np.testing.assert_allclose(found.numpy(), stored[f"eval_{name}"], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(score_query.numpy(), stored["eval_score_query"], atol=1e-5)
    np.testing.assert_allclose(score_memory.numpy(), stored["eval_score_memory"], atol=1e-5)
    assert compactness(query, made.items).item() == pytest.approx(float(stored["eval_compactness"]), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_equal_the_reference(golden, method):
    stored = golden(f"mnad_{method}_forward")
    made = from_recipe(method, int(stored["seed"]), stored["keys_in"]).train()
    frames, target = reference_clip(stored, method)
    items, weight, optimizer = made.items, 0.1 if method == "pred" else 0.01, Adam(made.net.parameters(), 2e-4)
    for step in range(2):
        frame, query = made.net(frames, items)
        terms = [(frame - target).square().mean(), compactness(query, items), separateness(query, items)]
        loss = terms[0] + weight * terms[1] + weight * terms[2]
        np.testing.assert_allclose(
            [float(t) for t in (loss.detach(), *(t.detach() for t in terms))], stored[f"train{step}_losses"], rtol=1e-3
        )
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            np.testing.assert_allclose(frame.detach().numpy(), stored["train_output"], atol=1e-4)
            own = dict(made.net.named_parameters())
            norms = dict(zip(stored["train_param_names"].tolist(), stored["train_grad_norm"].tolist(), strict=True))
            assert all(norm == -1 for name, norm in norms.items() if name not in own)
            # the stored values were computed in float32: in float64 the norms differ from them by up to 2.9e-3
            found = {name: own[name].grad.norm().item() for name in norms if name in own}
            assert found == pytest.approx({name: norms[name] for name in found}, rel=5e-3, abs=1e-6)
            near = [found[name] == pytest.approx(norms[name], rel=1e-3, abs=1e-6) for name in found]
            assert np.mean(near) > 0.8
        optimizer.step()
        items = update_items(query.detach(), items)
        # Adam's first step takes the sign of each gradient, also where it is noise: in float64 the keys then differ by
        # up to 4.6e-4 from the stored ones
        np.testing.assert_allclose(items.numpy(), stored[f"train{step}_keys_out"], atol=1e-6 if step == 0 else 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_is_the_plain_step_and_its_memory_is_updated_after_it(method):
    made = small(method).train()
    plain = copy.deepcopy(made)
    optimizer, own = Adam(plain.net.parameters(), 2e-4), made.optimizers()["network"]
    weight = 0.1 if method == "pred" else 0.01
    for step in range(3):
        x = pixels(made, seed=step)
        frames, target = (
            (2 * x - 1, 2 * x - 1)
            if method == "recon"
            else (torch.cat([2 * x[:, :, t] - 1 for t in range(4)], 1), 2 * x[:, :, 4] - 1)
        )
        frame, query = plain.net(frames, plain.items)
        loss = (frame - target).square().mean() + weight * (
            compactness(query, plain.items) + separateness(query, plain.items)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plain.items.copy_(update_items(query.detach(), plain.items))
        for name, losses in made.training_step(x):
            assert name == "network"
            own.zero_grad()
            losses["loss"].backward()
            own.step()
        assert losses["loss"].item() == pytest.approx(loss.item(), rel=1e-3)
        torch.testing.assert_close(made.items, plain.items, atol=1e-3, rtol=0)  # rounding cuts other ReLUs at 0


@pytest.mark.parametrize(("method", "number"), [("pred", 15_651_843), ("recon", 17_196_291)])
def test_it_has_the_references_parameters_but_for_those_never_used(method, number):
    assert sum(p.numel() for p in MNAD.create(method).net.parameters()) == number - 1024


@pytest.mark.parametrize(
    ("given", "seen", "items"),
    [
        ({"frames": 3, "channels": 1}, 2, (5, 32)),
        ({"method": "recon", "channels": 1}, 1, (5, 32)),
        ({"item_length": 7, "memory_size": 3}, 12, (3, 7)),
        ({"memory_size": 0}, 12, (0, 32)),
    ],
)
def test_other_structures_work(given, seen, items):
    made = fitted(small(**given))
    assert made.net.encoder.moduleConv1[0].in_channels == seen
    assert made.items.shape == items
    output = made(pixels(made))
    assert output.score.shape == (6, 1)
    assert output.map.shape == (6, 1, 16, 24)
    assert torch.isfinite(output.score).all()


def test_without_a_memory_the_psnr_is_the_score_and_nothing_draws_features_together():
    made = small(memory_size=0)
    x = pixels(made)
    assert set(made.validation_step(x)) == {"loss", "intensity"}
    output = fitted(made)(x)
    torch.testing.assert_close(output.score, (made.normal[0, 0] - output.terms["psnr"]) / made.normal[0, 1])
    assert made.items_at(x) is None
    assert made(x).recalled is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"size": (20, 16)}, "multiples of 8.*20 x 16"),
        ({"spec": InputSpec(size=(16, 16), frames=4)}, "takes 5 frame.*got 4"),
        ({"channels": 2}, "channels"),
        ({"memory_size": 1}, "memory_size 1"),
        ({"memory_size": 0, "online_update": True}, "needs a memory"),
        ({"widht": 3}, "did you mean 'width'"),
    ],
)
def test_what_is_not_possible_is_refused(given, named):
    with pytest.raises(ConfigError, match=named):
        MNAD.create(**given)


def test_made_of_options_it_is_the_same_as_made_of_numbers():
    mine = small(seed=2, frames=3)
    theirs = MNAD(MNADOptions(seed=2, frames=3, width=4, memory_size=5), mine.input)
    assert theirs.options == mine.options
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert not torch.equal(mine.items, small(seed=3, frames=3).items)


# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["noupdate", "update"])
def test_the_whole_evaluation_equals_the_references(golden, method, how):
    stored = golden(f"mnad_evaluate_{method}")
    threshold = float(stored[f"{how}__th_f64"])
    more = {"size": (32, 48), "online_update": True, "carry_over": True, "update_threshold": threshold}
    made = from_recipe(method, int(stored["seed"]), stored["keys_in"], **more)
    order = InOrder(made)
    with torch.inference_mode():
        for video in ("01", "02", "03"):
            x = clips_of(stored[f"frames__{video}"], method)
            found = order.score(x, [video] * len(x)).terms
            for part, name in (("psnr", "psnr"), ("feature_distance", "featdist")):
                expected = stored[f"{how}__{video}__{name}_f64"]
                np.testing.assert_allclose(found[part][:, 0].numpy(), expected, atol=1e-4, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(order._state.numpy(), stored[f"{how}__keys_final"], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_score_is_the_weighted_sum_of_standardized_terms(method):
    made = fitted(small(method))
    x = pixels(made, seed=3)
    learned, output = made(pixels(made, seed=1)).terms, made(x)
    share = 0.6 if method == "pred" else 0.7
    terms = []
    for name, sign in (("psnr", -1), ("feature_distance", 1)):
        spread, mean = torch.std_mean(learned[name], correction=0)
        terms.append(sign * (output.terms[name] - mean) / spread)
    torch.testing.assert_close(output.score, share * terms[0] + (1 - share) * terms[1], rtol=1e-3, atol=1e-3)


def test_the_items_of_a_frame_are_told_by_place_and_by_share():
    made = fitted(small())
    x = pixels(made)
    query = made.net(*made._split(x)[:1], made.items)[1]
    similar = torch.einsum("ndhw,md->nmhw", torch.nn.functional.normalize(query, dim=1), made.items)
    assert torch.equal(made.items_at(x), similar.argmax(1))
    for shares, places in zip(made(x).recalled, similar.argmax(1), strict=True):
        assert shares.tolist() == [pytest.approx(float((places == item).float().mean())) for item in range(5)]


def test_the_map_is_the_smoothed_squared_error_of_the_predicted_frame():
    made = fitted(small(sigma=2.0))
    x = pixels(made)
    error = (made.reconstruct(x) - x[:, :, -1]).square()
    torch.testing.assert_close(made(x).map[:, 0], smooth(error.mean(1), 2.0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made(x).terms["psnr"][:, 0], -10 * error.mean((1, 2, 3)).log10(), rtol=1e-4, atol=1e-4)


def test_ignored_pixels_neither_count_nor_show():
    made = small()
    ignored = torch.zeros(16, 24, dtype=torch.bool)
    ignored[:4] = True
    made.ignore(ignored)
    fitted(made)
    x = pixels(made)
    other = x.clone()
    other[..., :4, :] = 1 - other[..., :4, :]
    a, b = made(x), made(other)
    torch.testing.assert_close(a.score, b.score)
    assert not a.map[..., :4, :].any()


@pytest.mark.parametrize("colors", ["rgb", "bgr"])
def test_colors_come_to_the_network_in_its_own_order(colors):
    made = fitted(small("recon", colors=colors))
    x = pixels(made)
    inside = x if colors == "rgb" else x.flip(1)
    frame, _ = made.net(2 * inside - 1, made.items)
    torch.testing.assert_close(made.reconstruct(x), (frame if colors == "rgb" else frame.flip(1)) / 2 + 0.5)


def test_scores_before_the_fit_are_refused():
    made = small().eval()
    with pytest.raises(NotFittedError):
        made(pixels(made))
    with pytest.raises(NotFittedError):
        made.step(pixels(made), made.initial_state())


# --- learning on ------------------------------------------------------------------------------------------------


def test_streams_together_are_as_each_alone():
    made = fitted(small(update_threshold=1.0))
    states = torch.stack([small(seed=seed).items for seed in range(6)])
    x = pixels(made)
    together, after = made.step(x, states)
    for i in range(6):
        alone, state = made.step(x[i : i + 1], states[i])
        torch.testing.assert_close(together.score[i : i + 1], alone.score, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(after[i], state)
        assert not torch.allclose(state, states[i])
    shared, after = made.step(x, made.initial_state())
    torch.testing.assert_close(shared.score, made(x).score, rtol=1e-3, atol=1e-4)
    assert after.shape == states.shape


def test_only_frames_below_the_threshold_are_learned_from():
    x = pixels(small())
    made = fitted(small(update_threshold=1e-9))
    assert torch.equal(made.step(x, made.initial_state())[1], made.items.expand(6, -1, -1))


def test_the_terms_of_a_detector_that_updates_online_are_standardized_as_it_scores():
    made = small(online_update=True, update_threshold=1.0)
    fitted(made)
    found = InOrder(made).score(pixels(made, seed=1), [0] * 6).terms
    spread, mean = torch.std_mean(torch.cat([found["psnr"], found["feature_distance"]], 1), 0, correction=0)
    torch.testing.assert_close(made.normal, torch.stack([mean, spread], 1), rtol=1e-3, atol=1e-6)
    assert not torch.allclose(made.normal, fitted(small()).normal)


# --- the form that scores fastest -------------------------------------------------------------------------------


def test_the_scoring_form_follows_every_change_of_the_network_and_leaves_it_as_it_is():
    torch.manual_seed(0)  # other statistics may leave nothing but constants
    made = fitted(small())
    frames = made._split(pixels(made))[0]
    for module in made.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    state = {name: value.clone() for name, value in made.state_dict().items()}

    def agree():
        with torch.inference_mode():
            quick, plain = made._made(frames, made.items)[0], made.net(frames, made.items)[0]
        torch.testing.assert_close(quick, plain, atol=1e-4, rtol=0)
        return quick

    first = agree()
    assert made.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())
    with torch.no_grad():
        made.net.decoder.moduleUpsample2[0].weight.mul_(3)
    assert not torch.allclose(agree(), first, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made._form.get(made.net, torch.float32).modules())


def test_bfloat16_scores_nearly_the_same():
    exact, rough = fitted(small()), fitted(small(score_precision="bfloat16"))
    x = pixels(exact)
    with torch.inference_mode():
        a, b = exact(x), rough(x)
    assert b.score.dtype == torch.float32
    torch.testing.assert_close(a.terms["psnr"], b.terms["psnr"], atol=0.1, rtol=0)
    assert not torch.equal(a.terms["psnr"], b.terms["psnr"])


# --- published weights ------------------------------------------------------------------------------------------


def test_weights_say_their_structure(golden):
    stored = golden("mnad_recon_forward")
    items = torch.from_numpy(stored["keys_in"])
    made = MNAD.from_reference([{"items": items}, reference_state("recon", 13)], MNADOptions(), (32, 48))
    options = made.options
    assert (options.method, options.width, options.memory_size, options.length) == ("recon", 64, 10, 512)
    assert options.colors == "bgr"
    assert (made.input.size, made.input.resize.policy) == ((32, 48), "stretch")
    predicting = MNAD.from_reference([reference_state("pred", 13), {"items": items}], MNADOptions())
    assert (predicting.options.method, predicting.input.frames, predicting.input.size) == ("pred", 5, (256, 256))
    with torch.inference_mode():
        frame, _ = made.eval()._made(torch.from_numpy(stored["clip"]), made.items)
    np.testing.assert_allclose(frame.numpy(), stored["eval_output"], atol=1e-5)


def test_imported_weights_see_frames_as_the_published_code_does(golden):
    stored = golden("mnad_score")
    made = MNAD.from_reference([reference_state("recon", 13), {"items": torch.rand(10, 512)}], MNADOptions(), (32, 48))
    frame = Image.fromarray(stored["prep__bgr_u8"][:, :, ::-1].copy())
    x = torch.tensor(to_pixels(frame, made.input))[None] / 255
    inside = made._split(x)[0][0].permute(1, 2, 0)
    one_gray_level = 1.01 / 127.5  # OpenCV and Pillow round differently
    np.testing.assert_allclose(inside.numpy(), stored["prep__out_32x48"], atol=one_gray_level)
    assert np.abs(inside.numpy() - stored["prep__out_32x48"]).mean() < 0.5 / 127.5


def test_other_weights_are_refused_and_nothing_is_taken():
    state, items = reference_state("recon", 13), torch.eye(10, 512)
    made = MNAD.create("recon")
    before = {name: value.clone() for name, value in made.state_dict().items()}
    for given, memory, named in (
        ({k: v for k, v in state.items() if not k.endswith("moduleConv2.0.bias")}, items, "1 missing: .*Conv2.0.bias"),
        ({**state, "extra": items}, items, "1 unknown: extra"),
        (state, items[:, :3], "10 x 3: expected 10 x 512"),
    ):
        with pytest.raises(WeightsError, match=named):
            made.load_reference_state_dict(given, memory)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert not made.is_fitted
    for states, named in (([state], "memory items"), ([{"items": items}], "network of MNAD"), ([], "no file")):
        with pytest.raises(WeightsError, match=named):
            MNAD.from_reference(states, MNADOptions())
    with pytest.raises(ConfigError, match="width 8: the weights have 64"):
        MNAD.from_reference([state, {"items": items}], MNADOptions(width=8))
