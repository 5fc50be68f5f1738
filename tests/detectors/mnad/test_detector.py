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
from offnormal.detectors.parts.stream_states import SequentialStreams
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


def pixels(detector, n=6, seed=0):
    frames = (detector.input.frames,) if detector.input.frames > 1 else ()
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, detector.input.channels, *frames, *detector.input.size, generator=random)


def fitted(detector, seed=1):
    detector.eval()
    with torch.no_grad():
        detector.finish([Batch(pixels(detector, seed=seed).numpy(), [sample(f"{seed}")] * 6, None, None)])
    return detector


def reference_clip(stored, method):
    """Input and target frame of the network, in [-1, 1], from the golden file."""
    clip = torch.from_numpy(stored["clip"])
    return (clip[:, :12], clip[:, 12:]) if method == "pred" else (clip, clip)


# --- the network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_network_outputs_equal_the_reference(golden, method):
    stored = golden(f"mnad_{method}_forward")
    detector = from_recipe(method, int(stored["seed"]), stored["keys_in"])
    frames, _ = reference_clip(stored, method)
    with torch.no_grad():
        frame, query = detector.net(frames, detector.items)
        features, score_query, score_memory = read_items(query, detector.items)
        fast, _ = detector._run_network(frames, detector.items)
    for actual, name in (
        (frame, "output"),
        (fast, "output"),
        (query, "fea"),
        (features[:, ::64], "updated_fea_channels"),
    ):
        np.testing.assert_allclose(actual.numpy(), stored[f"eval_{name}"], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(score_query.numpy(), stored["eval_score_query"], atol=1e-5)
    np.testing.assert_allclose(score_memory.numpy(), stored["eval_score_memory"], atol=1e-5)
    assert compactness(query, detector.items).item() == pytest.approx(float(stored["eval_compactness"]), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_equal_the_reference(golden, method):
    stored = golden(f"mnad_{method}_forward")
    detector = from_recipe(method, int(stored["seed"]), stored["keys_in"]).train()
    frames, target = reference_clip(stored, method)
    items, weight, optimizer = detector.items, 0.1 if method == "pred" else 0.01, Adam(detector.net.parameters(), 2e-4)
    for step in range(2):
        frame, query = detector.net(frames, items)
        terms = [(frame - target).square().mean(), compactness(query, items), separateness(query, items)]
        loss = terms[0] + weight * terms[1] + weight * terms[2]
        np.testing.assert_allclose(
            [float(t) for t in (loss.detach(), *(t.detach() for t in terms))], stored[f"train{step}_losses"], rtol=1e-3
        )
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            np.testing.assert_allclose(frame.detach().numpy(), stored["train_output"], atol=1e-4)
            parameters = dict(detector.net.named_parameters())
            norms = dict(zip(stored["train_param_names"].tolist(), stored["train_grad_norm"].tolist(), strict=True))
            assert all(norm == -1 for name, norm in norms.items() if name not in parameters)
            # the stored values are float32: in float64 the norms differ by up to 2.9e-3
            gradient_norms = {name: parameters[name].grad.norm().item() for name in norms if name in parameters}
            assert gradient_norms == pytest.approx({name: norms[name] for name in gradient_norms}, rel=5e-3, abs=1e-6)
            near = [gradient_norms[name] == pytest.approx(norms[name], rel=1e-3, abs=1e-6) for name in gradient_norms]
            assert np.mean(near) > 0.8
        optimizer.step()
        items = update_items(query.detach(), items)
        # Adam's first step uses the sign of each gradient, even if it is noise: in float64 the keys differ by up to
        # 4.6e-4 from the stored ones
        np.testing.assert_allclose(items.numpy(), stored[f"train{step}_keys_out"], atol=1e-6 if step == 0 else 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_updates_the_memory_after_the_network(method):
    detector = small(method).train()
    plain = copy.deepcopy(detector)
    optimizer, detector_optimizer = Adam(plain.net.parameters(), 2e-4), detector.optimizers()["network"]
    weight = 0.1 if method == "pred" else 0.01
    for step in range(3):
        x = pixels(detector, seed=step)
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
        for name, losses in detector.training_step(x):
            assert name == "network"
            detector_optimizer.zero_grad()
            losses["loss"].backward()
            detector_optimizer.step()
        assert losses["loss"].item() == pytest.approx(loss.item(), rel=1e-3)
        torch.testing.assert_close(detector.items, plain.items, atol=1e-3, rtol=0)  # rounding cuts other ReLUs at 0


@pytest.mark.parametrize(("method", "number"), [("pred", 15_651_843), ("recon", 17_196_291)])
def test_parameters_equal_the_reference_except_unused_ones(method, number):
    assert sum(p.numel() for p in MNAD.create(method).net.parameters()) == number - 1024


@pytest.mark.parametrize(
    ("options", "in_channels", "items"),
    [
        ({"frames": 3, "channels": 1}, 2, (5, 32)),
        ({"method": "recon", "channels": 1}, 1, (5, 32)),
        ({"item_length": 7, "memory_size": 3}, 12, (3, 7)),
        ({"memory_size": 0}, 12, (0, 32)),
    ],
)
def test_other_structures_work(options, in_channels, items):
    detector = fitted(small(**options))
    assert detector.net.encoder.moduleConv1[0].in_channels == in_channels
    assert detector.items.shape == items
    output = detector(pixels(detector))
    assert output.score.shape == (6, 1)
    assert output.map.shape == (6, 1, 16, 24)
    assert torch.isfinite(output.score).all()


def test_without_a_memory_the_score_is_the_psnr():
    detector = small(memory_size=0)
    x = pixels(detector)
    assert set(detector.validation_step(x)) == {"loss", "intensity"}
    output = fitted(detector)(x)
    torch.testing.assert_close(output.score, (detector.normal[0, 0] - output.terms["psnr"]) / detector.normal[0, 1])
    assert detector.recalled_items(x) is None
    assert detector(x).recalled is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (20, 16)}, "20x16.*multiples of 8"),
        ({"spec": InputSpec(size=(16, 16), frames=4)}, "frames=4.*frames=5"),
        ({"channels": 2}, "channels"),
        ({"memory_size": 1}, "memory_size=1: expected 0"),
        ({"memory_size": 0, "online_update": True}, "online_update without a memory"),
        ({"widht": 3}, "did you mean 'width'"),
    ],
)
def test_impossible_options_are_rejected(options, message):
    with pytest.raises(ConfigError, match=message):
        MNAD.create(**options)


def test_create_equals_the_constructor():
    mine = small(seed=2, frames=3)
    theirs = MNAD(MNADOptions(seed=2, frames=3, width=4, memory_size=5), mine.input)
    assert theirs.options == mine.options
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert not torch.equal(mine.items, small(seed=3, frames=3).items)


# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["noupdate", "update"])
def test_the_whole_evaluation_equals_the_reference(golden, method, mode):
    stored = golden(f"mnad_evaluate_{method}")
    threshold = float(stored[f"{mode}__th_f64"])
    more = {"size": (32, 48), "online_update": True, "carry_over": True, "update_threshold": threshold}
    detector = from_recipe(method, int(stored["seed"]), stored["keys_in"], **more)
    streams = SequentialStreams(detector)
    with torch.inference_mode():
        for video in ("01", "02", "03"):
            x = clips_of(stored[f"frames__{video}"], method)
            terms = streams.score(x, [video] * len(x)).terms
            for part, name in (("psnr", "psnr"), ("feature_distance", "featdist")):
                expected = stored[f"{mode}__{video}__{name}_f64"]
                np.testing.assert_allclose(terms[part][:, 0].numpy(), expected, atol=1e-4, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(streams._state.numpy(), stored[f"{mode}__keys_final"], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_score_is_the_weighted_sum_of_standardized_terms(method):
    detector = fitted(small(method))
    x = pixels(detector, seed=3)
    learned, output = detector(pixels(detector, seed=1)).terms, detector(x)
    share = 0.6 if method == "pred" else 0.7
    terms = []
    for name, sign in (("psnr", -1), ("feature_distance", 1)):
        spread, mean = torch.std_mean(learned[name], correction=0)
        terms.append(sign * (output.terms[name] - mean) / spread)
    torch.testing.assert_close(output.score, share * terms[0] + (1 - share) * terms[1], rtol=1e-3, atol=1e-3)


def test_recalled_items_are_reported_per_position_and_as_shares():
    detector = fitted(small())
    x = pixels(detector)
    query = detector.net(*detector._split(x)[:1], detector.items)[1]
    similar = torch.einsum("ndhw,md->nmhw", torch.nn.functional.normalize(query, dim=1), detector.items)
    assert torch.equal(detector.recalled_items(x), similar.argmax(1))
    for shares, places in zip(detector(x).recalled, similar.argmax(1), strict=True):
        assert shares.tolist() == [pytest.approx(float((places == item).float().mean())) for item in range(5)]


def test_the_map_is_the_smoothed_squared_error_of_the_predicted_frame():
    detector = fitted(small(sigma=2.0))
    x = pixels(detector)
    error = (detector.reconstruct(x) - x[:, :, -1]).square()
    torch.testing.assert_close(detector(x).map[:, 0], smooth(error.mean(1), 2.0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        detector(x).terms["psnr"][:, 0], -10 * error.mean((1, 2, 3)).log10(), rtol=1e-4, atol=1e-4
    )


def test_ignored_pixels_affect_neither_scores_nor_maps():
    detector = small()
    ignored = torch.zeros(16, 24, dtype=torch.bool)
    ignored[:4] = True
    detector.ignore(ignored)
    fitted(detector)
    x = pixels(detector)
    other = x.clone()
    other[..., :4, :] = 1 - other[..., :4, :]
    a, b = detector(x), detector(other)
    torch.testing.assert_close(a.score, b.score)
    assert not a.map[..., :4, :].any()


@pytest.mark.parametrize("colors", ["rgb", "bgr"])
def test_colors_reach_the_network_in_its_order(colors):
    detector = fitted(small("recon", color_order=colors))
    x = pixels(detector)
    inside = x if colors == "rgb" else x.flip(1)
    frame, _ = detector.net(2 * inside - 1, detector.items)
    torch.testing.assert_close(detector.reconstruct(x), (frame if colors == "rgb" else frame.flip(1)) / 2 + 0.5)


def test_scoring_before_the_fit_is_an_error():
    detector = small().eval()
    with pytest.raises(NotFittedError):
        detector(pixels(detector))
    with pytest.raises(NotFittedError):
        detector.step(pixels(detector), detector.initial_state())


# --- learning on ------------------------------------------------------------------------------------------------


def test_parallel_streams_score_as_each_alone():
    detector = fitted(small(update_threshold=1.0))
    states = torch.stack([small(seed=seed).items for seed in range(6)])
    x = pixels(detector)
    together, after = detector.step(x, states)
    for i in range(6):
        alone, state = detector.step(x[i : i + 1], states[i])
        torch.testing.assert_close(together.score[i : i + 1], alone.score, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(after[i], state)
        assert not torch.allclose(state, states[i])
    shared, after = detector.step(x, detector.initial_state())
    torch.testing.assert_close(shared.score, detector(x).score, rtol=1e-3, atol=1e-4)
    assert after.shape == states.shape


def test_only_frames_below_the_threshold_update_the_memory():
    x = pixels(small())
    detector = fitted(small(update_threshold=1e-9))
    assert torch.equal(detector.step(x, detector.initial_state())[1], detector.items.expand(6, -1, -1))


def test_with_online_updates_terms_are_standardized_in_order():
    detector = small(online_update=True, update_threshold=1.0)
    fitted(detector)
    terms = SequentialStreams(detector).score(pixels(detector, seed=1), [0] * 6).terms
    spread, mean = torch.std_mean(torch.cat([terms["psnr"], terms["feature_distance"]], 1), 0, correction=0)
    torch.testing.assert_close(detector.normal, torch.stack([mean, spread], 1), rtol=1e-3, atol=1e-6)
    assert not torch.allclose(detector.normal, fitted(small()).normal)


# --- the form that scores fastest -------------------------------------------------------------------------------


def test_the_scoring_form_follows_every_change_of_the_network():
    torch.manual_seed(0)  # other statistics may leave only constants
    detector = fitted(small())
    frames = detector._split(pixels(detector))[0]
    for module in detector.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    state = {name: value.clone() for name, value in detector.state_dict().items()}

    def agree():
        with torch.inference_mode():
            quick, plain = detector._run_network(frames, detector.items)[0], detector.net(frames, detector.items)[0]
        torch.testing.assert_close(quick, plain, atol=1e-4, rtol=0)
        return quick

    first = agree()
    assert detector.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
    with torch.no_grad():
        detector.net.decoder.moduleUpsample2[0].weight.mul_(3)
    assert not torch.allclose(agree(), first, atol=1e-4)
    assert not any(
        isinstance(module, nn.BatchNorm2d) for module in detector._form.get(detector.net, torch.float32).modules()
    )


def test_bfloat16_scores_nearly_the_same():
    exact, rough = fitted(small()), fitted(small(score_precision="bfloat16"))
    x = pixels(exact)
    with torch.inference_mode():
        a, b = exact(x), rough(x)
    assert b.score.dtype == torch.float32
    torch.testing.assert_close(a.terms["psnr"], b.terms["psnr"], atol=0.1, rtol=0)
    assert not torch.equal(a.terms["psnr"], b.terms["psnr"])


# --- published weights ------------------------------------------------------------------------------------------


def test_the_structure_is_inferred_from_weights(golden):
    stored = golden("mnad_recon_forward")
    items = torch.from_numpy(stored["keys_in"])
    detector = MNAD.from_reference([{"items": items}, reference_state("recon", 13)], MNADOptions(), (32, 48))
    options = detector.options
    assert (options.method, options.width, options.memory_size, options.length) == ("recon", 64, 10, 512)
    assert options.color_order == "bgr"
    assert (detector.input.size, detector.input.resize.policy) == ((32, 48), "stretch")
    predicting = MNAD.from_reference([reference_state("pred", 13), {"items": items}], MNADOptions())
    assert (predicting.options.method, predicting.input.frames, predicting.input.size) == ("pred", 5, (256, 256))
    with torch.inference_mode():
        frame, _ = detector.eval()._run_network(torch.from_numpy(stored["clip"]), detector.items)
    np.testing.assert_allclose(frame.numpy(), stored["eval_output"], atol=1e-5)


def test_imported_weights_preprocess_frames_like_the_published_code(golden):
    stored = golden("mnad_score")
    detector = MNAD.from_reference(
        [reference_state("recon", 13), {"items": torch.rand(10, 512)}], MNADOptions(), (32, 48)
    )
    frame = Image.fromarray(stored["prep__bgr_u8"][:, :, ::-1].copy())
    x = torch.tensor(to_pixels(frame, detector.input))[None] / 255
    inside = detector._split(x)[0][0].permute(1, 2, 0)
    one_gray_level = 1.01 / 127.5  # OpenCV and Pillow round differently
    np.testing.assert_allclose(inside.numpy(), stored["prep__out_32x48"], atol=one_gray_level)
    assert np.abs(inside.numpy() - stored["prep__out_32x48"]).mean() < 0.5 / 127.5


def test_other_weights_are_rejected_and_nothing_is_loaded():
    state, items = reference_state("recon", 13), torch.eye(10, 512)
    detector = MNAD.create("recon")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    for weights, memory, message in (
        ({k: v for k, v in state.items() if not k.endswith("moduleConv2.0.bias")}, items, "1 missing: .*Conv2.0.bias"),
        ({**state, "extra": items}, items, "1 unknown: extra"),
        (state, items[:, :3], "10 x 3: expected 10 x 512"),
    ):
        with pytest.raises(WeightsError, match=message):
            detector.load_reference_state_dict(weights, memory)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert not detector.is_fitted
    for states, message in (([state], "memory items"), ([{"items": items}], "network of MNAD"), ([], "no file")):
        with pytest.raises(WeightsError, match=message):
            MNAD.from_reference(states, MNADOptions())
    with pytest.raises(ConfigError, match="width=8: the weights have 64"):
        MNAD.from_reference([state, {"items": items}], MNADOptions(width=8))
