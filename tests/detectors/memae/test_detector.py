from functools import cache

import numpy as np
import pytest
import torch

from offnormal.data.batches import Batch
from offnormal.data.clips import Windows
from offnormal.detectors.memae import MemAE, MemAEOptions
from offnormal.detectors.parts.maps import smooth
from offnormal.errors import ConfigError, NotFittedError, WeightsError
from offnormal.metrics.video import FrameScores, video_metrics
from offnormal.scoring import align
from offnormal.types import ClipSpec, Frame, InputSpec
from tests.conftest import GOLDEN
from tests.hash_recipe import state_dict

FORWARD = {"memae": ("memae_forward", {}), "ae": ("ae_forward", {"memory_size": 0})}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def weights(which, seed):
    return state_dict(GOLDEN / f"{which}_params.csv", seed, transposed=2.0, memory=4.0)


def published(golden, which):
    name, options = FORWARD[which]
    stored = golden(name)
    state = weights(which, int(stored["seed"]))
    detector = MemAE.create(**options, compat="code", spec=clips(32, 48, targets=(8,)))
    detector.load_reference_state_dict(state)
    return detector, stored


def clips(height, width, frames=16, channels=1, **more):
    return InputSpec(size=(height, width), channels=channels, frames=frames, **more)


# --- the published network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", FORWARD)
def test_network_outputs_equal_the_reference(golden, which):
    detector, stored = published(golden, which)
    detector.eval()
    clip = torch.from_numpy(stored["clip"])
    with torch.no_grad():
        output, attention = detector.net(clip)
        code = detector.net.encoder(clip)["stage4"]
    np.testing.assert_allclose(code.numpy(), stored["eval_z"], atol=1e-5)
    np.testing.assert_allclose(output.numpy(), stored["eval_output"], atol=1e-5)
    if which == "memae":
        assert attention.shape == (2, 2000, 2, 2, 3)
        np.testing.assert_allclose(attention[0].numpy(), stored["eval_att_item0"], atol=1e-5)
        assert np.array_equal((attention > 0).sum(1).numpy(), stored["eval_att_nonzero_per_position"])
        assert np.array_equal(attention.argmax(1).numpy(), stored["eval_att_argmax"])
    else:
        assert attention is None


@pytest.mark.parametrize("which", FORWARD)
def test_the_error_of_a_clip_equals_the_published_code(golden, which):
    detector, stored = published(golden, which)
    with torch.no_grad():
        output = detector.eval()((torch.from_numpy(stored["clip"]) + 1) / 2)
    np.testing.assert_allclose(output.score.numpy()[:, 0], stored["eval_clip_error"], atol=1e-5)
    assert output.map.shape == (2, 1, 32, 48)
    np.testing.assert_allclose(output.map.mean((1, 2, 3)).numpy(), stored["eval_clip_error"], atol=1e-5)


@pytest.mark.parametrize("which", FORWARD)
def test_two_training_steps_equal_the_reference(golden, which):
    detector, stored = published(golden, which)
    detector.train()
    clip = (torch.from_numpy(stored["clip"]) + 1) / 2
    (optimizer,) = detector.optimizers().values()
    names = {f"mem_rep.{name}.weight" if name == "memory" else name: p for name, p in detector.net.named_parameters()}
    for step in range(2):
        ((name, losses),) = detector.training_step(clip)
        expected = dict(zip(("loss", "reconstruction", "entropy"), stored[f"train{step}_losses"], strict=True))
        for key, loss in losses.items():
            assert loss.item() == pytest.approx(expected[key], rel=1e-3 if step else 1e-4), key
        optimizer.zero_grad()
        losses["loss"].backward()
        if step == 0:
            assert name == "autoencoder"
            for key, norm in zip(stored["train_param_names"], stored["train_grad_norm"], strict=True):
                assert names[str(key)].grad.norm().item() == pytest.approx(float(norm), rel=1e-3, abs=1e-5), key
        optimizer.step()


def test_names_and_numbers_of_parameters_equal_the_reference(golden):
    numbers = {"memae": 6_492_801, "ae": 5_980_801}
    for which, (_, options) in FORWARD.items():
        detector = MemAE.create(**options, spec=clips(16, 16))
        assert sum(p.numel() for p in detector.net.parameters()) == numbers[which]
        state = weights(which, 23)
        shapes = {k.replace("memory", "mem_rep.memory.weight"): v for k, v in detector.net.state_dict().items()}
        assert {k: v.shape for k, v in shapes.items() if not k.endswith("tracked")} == {
            k: v.shape for k, v in state.items()
        }


def test_alignment_and_auc_equal_the_published_script(golden):
    stored = golden("memae_score")
    videos = sorted({key.split("__")[0] for key in stored if "__" in key})
    spec = MemAE.create(compat="code", width=1, memory_size=1).input
    assert spec.hop == 1
    series = []
    for name in videos:
        errors, labels = stored[f"{name}__clip_errors_f64"], stored[f"{name}__labels"]
        windows = Windows(spec)
        frames = [Frame(index, None, np.zeros(0)) for index in range(len(labels))]
        targets = [[target.index for target in clip.targets] for frame in frames for clip in windows.push(frame)]
        aligned = align(errors[:, None], np.array(targets), len(labels))
        assert np.array_equal(np.flatnonzero(aligned.covered), np.arange(len(labels))[8:-7])
        assert np.array_equal(labels[aligned.covered], stored[f"{name}__labels_used"])
        series.append(FrameScores(name, aligned.score.astype(np.float64), labels.astype(bool), None))
    metrics = video_metrics(series).metrics
    assert metrics["frame_AUC_micro_per_video_norm"] == pytest.approx(float(stored["auc_f64"]), abs=1e-9)


# --- forms and options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ({"form": "video", "width": 6}, clips(33, 47)),
        ({"form": "video", "width": 6, "frames": 15, "channels": 3}, clips(32, 32, 15, 3)),
        ({"form": "mnist"}, InputSpec(size=(28, 28), channels=1)),
        ({"form": "mnist", "query": "position", "channels": 3}, InputSpec(size=(20, 31))),
        ({"form": "cifar", "width": 8}, InputSpec(size=(32, 32))),
        ({"form": "image", "width": 6}, InputSpec(size=(97, 130))),
    ],
)
def test_every_form_restores_every_size(options, spec):
    detector = MemAE.create(spec=spec, memory_size=7, **options).train()
    shape = (2, spec.channels, *([spec.frames] if spec.frames > 1 else []), *spec.size)
    output, attention = detector.net(torch.rand(shape))
    assert output.shape == shape
    assert attention.shape[:2] == (2, 7)
    assert (attention.ndim == 2) == (detector.options.network.query == "whole" and options.get("query") != "position")
    other, _ = MemAE.create(spec=spec, memory_size=0, **options).net(torch.rand(shape))
    assert other.shape == shape


def test_the_default_is_the_published_form():
    detector = MemAE.create(width=1)  # narrow, so that it is fast
    assert (detector.input.size, detector.input.frames, detector.input.channels) == ((256, 256), 16, 1)
    assert detector.input.targets == tuple(range(16))
    assert (detector.net.shrink, len(detector.net.memory)) == (0.0025, 2000)
    assert detector.options.entropy_weight == 0.0002


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 1 / 50), ({"sparsity": 2.5}, 2.5 / 50), ({"shrink": 0.3, "sparsity": 2}, 0.3), ({"shrink": 0}, 0)],
)
def test_the_threshold_depends_on_the_memory_size(options, expected):
    assert MemAEOptions(memory_size=50, **options).threshold == pytest.approx(expected)


def test_the_form_depends_on_the_data_and_is_stored():
    def form(options, **data):
        return MemAE.adapt_options(MemAEOptions(**options), **data).form

    assert form({}, data="videos", longer_side=320) == "video"
    assert form({}, data="images", longer_side=28) == "cifar"
    assert form({"channels": 1}, data="images", longer_side=28) == "mnist"
    assert form({}, data="images", longer_side=320) == "image"
    assert form({"form": "image"}, data="videos", longer_side=320) == "image"
    built = MemAE(MemAEOptions(width=4, memory_size=5), InputSpec(size=(40, 40)))
    assert built.options.form == "image"
    again = MemAE(built.options, built.input)
    assert again.options == built.options
    assert all(torch.equal(p, q) for p, q in zip(built.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "mnist", "hop": 3}, "only form=video takes clips"),
        ({"form": "video", "query": "whole"}, "expected query=position"),
        ({"widht": 3}, "did you mean 'width'"),
        ({"spec": InputSpec(size=(32, 32))}, "channels=1, frames=16"),
        ({"form": "mnist", "spec": clips(28, 28)}, "expects channels=1, frames=1"),
    ],
)
def test_impossible_options_are_rejected(options, message):
    with pytest.raises(ConfigError, match=message):
        MemAE.create(**options)


def test_clips_overlap_by_half_except_with_compat_code():
    assert MemAE.clip_spec(MemAEOptions()) == ClipSpec(frames=16, hop=8, targets=tuple(range(16)))
    assert MemAE.clip_spec(MemAEOptions(compat="code")) == ClipSpec(frames=16, targets=(8,))
    assert MemAE.clip_spec(MemAEOptions(hop=3, frames=15)).targets == tuple(range(15))
    assert MemAE.clip_spec(MemAEOptions(form="image")) == ClipSpec()


# --- learning ---------------------------------------------------------------------------------------------------


def small(**options):
    spec = InputSpec(size=(16, 16), channels=1)
    return MemAE.create(**{"form": "image", "width": 6, "memory_size": 5, "channels": 1, "spec": spec, **options})


def pixels(count=4, seed=0, size=16):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def test_losses_equal_the_paper():
    detector = small(entropy_weight=0.5).train()
    x = pixels()
    ((_, losses),) = detector.training_step(x)
    detector.train()
    with torch.no_grad():
        output, attention = detector.net(2 * x - 1)
    error = ((output - (2 * x - 1)) ** 2).mean()
    spread = -(attention * torch.log(attention + 1e-12)).sum(1).mean()
    assert losses["reconstruction"].item() == pytest.approx(error.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((error + 0.5 * spread).item(), rel=1e-5)
    validation_losses = detector.eval().validation_step(x)
    assert validation_losses["loss"] == validation_losses["reconstruction"]


def test_each_epoch_logs_dead_positions_and_warns_once(caplog):
    detector = small(shrink=0.9).train()
    for _ in detector.training_step(pixels()):
        pass
    assert detector.end_epoch() == {"dead_positions": 1.0, "unused_items": 1.0}
    assert "100 % of all positions recalled nothing" in caplog.text
    assert detector.end_epoch() == {}  # no step since the last epoch
    caplog.clear()
    list(detector.training_step(pixels()))
    detector.end_epoch()
    assert not caplog.text
    fed = small(shrink=0.0).train()
    list(fed.training_step(pixels()))
    assert fed.end_epoch() == {"dead_positions": 0.0, "unused_items": 0.0}
    assert small(memory_size=0).train().end_epoch() == {}


# --- scoring ----------------------------------------------------------------------------------------------------


def fitted(detector, batches=2):
    for seed in range(3):  # update the running statistics
        list(detector.train().training_step(pixels(seed=seed, size=detector.input.size[0])))
    detector.eval()
    detector.finish(
        [Batch(pixels(seed=seed, size=detector.input.size[0]).numpy(), [], None) for seed in range(batches)]
    )
    return detector


def test_scores_and_maps_are_the_squared_error():
    detector = fitted(small(sigma=0))
    x = pixels(3, seed=9)
    with torch.no_grad():
        output, plain = detector(x), detector.net(2 * x - 1)[0]
    expected = (plain - (2 * x - 1)).square()
    torch.testing.assert_close(output.map, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.score[:, 0], expected.mean((1, 2, 3)), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(output.terms["error"], output.score, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(detector.reconstruct(x), (plain + 1) / 2, atol=1e-5, rtol=1e-4)
    highest = fitted(small(sigma=0, pool="max"))
    assert torch.equal(highest(x).score[:, 0], highest(x).map.amax((1, 2, 3)))


def test_maps_are_blurred_by_a_64th_of_the_shorter_side():
    default, sharp, chosen = (fitted(small(**more)) for more in ({}, {"sigma": 0}, {"sigma": 2}))
    x = pixels(2)
    for blurred, sigma in ((default, 16 / 64), (chosen, 2)):
        torch.testing.assert_close(blurred(x).map[:, 0], smooth(sharp(x).map[:, 0], sigma))


def test_each_frame_of_a_clip_has_a_score():
    detector = MemAE.create(width=4, memory_size=5, frames=4, spec=clips(16, 16, 4, targets=(0, 1, 2, 3)))
    detector.usage = torch.ones(5)
    clip = torch.rand(2, 1, 4, 16, 16)
    with torch.no_grad():
        output, plain = detector.eval()(clip), detector.net(2 * clip - 1)[0]
        reconstruction = detector.reconstruct(clip)
    assert output.score.shape == (2, 4)
    torch.testing.assert_close(reconstruction, (plain[:, :, -1] + 1) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.score, (plain - (2 * clip - 1)).square().mean((1, 3, 4)), atol=1e-5, rtol=1e-4)


def test_the_folded_network_follows_every_change():
    detector = fitted(small())
    x = pixels(2, seed=5)
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    before = detector(x).score
    assert {name: value.shape for name, value in detector.state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in detector.net.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in detector._scoring_network().modules())
    list(detector.train().training_step(x))
    assert not torch.equal(detector.eval()(x).score, before)
    detector.load_state(state)
    assert torch.equal(detector(x).score, before)


def test_ignored_pixels_never_count():
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:, :6] = True
    detector = small(sigma=1)
    detector.ignore(region)
    fitted(detector)
    x = pixels(2)
    other = x.clone()
    other[..., :6] = 1
    assert torch.equal(detector(x).score, detector(other).score)
    assert not detector(x).map[..., :6].any()


def test_usage_is_the_share_of_each_item_on_held_out_normals():
    detector = fitted(small())
    _, attention = detector.net(2 * torch.cat([pixels(seed=0), pixels(seed=1)]) - 1)
    expected = attention.detach().flatten(2).sum((0, 2))
    torch.testing.assert_close(detector.usage, expected / expected.sum(), atol=1e-5, rtol=1e-4)
    with pytest.raises(NotFittedError):
        small()(pixels())


# --- published weights ------------------------------------------------------------------------------------------


def narrow_state(memory=5):
    state = MemAE.create(width=3, memory_size=memory, spec=clips(16, 16)).net.state_dict()
    return {k.replace("memory", "mem_rep.memory.weight"): v for k, v in state.items()}


def test_the_structure_is_inferred_from_published_weights():
    detector = MemAE.from_reference([narrow_state()], MemAEOptions(compat="code"))
    assert (detector.options.width, detector.options.memory_size, detector.options.threshold) == (3, 5, 0.0025)
    assert detector.is_fitted
    assert detector.input.targets == (8,)
    assert MemAE.from_reference([narrow_state(memory=0)], MemAEOptions()).net.memory is None
    with pytest.raises(ConfigError, match="memory_size=9: the weights have 5"):
        MemAE.from_reference([narrow_state()], MemAEOptions(memory_size=9))


def test_other_weights_are_rejected():
    detector = MemAE.create(width=3, memory_size=5, spec=clips(16, 16))
    with pytest.raises(WeightsError, match=r"1 missing: memory"):
        detector.load_reference_state_dict({k: v for k, v in narrow_state().items() if "mem_rep" not in k})
    assert not detector.is_fitted
    with pytest.raises(WeightsError, match="expected one file of MemAE"):
        MemAE.from_reference([{"weight": torch.zeros(3)}], MemAEOptions())
