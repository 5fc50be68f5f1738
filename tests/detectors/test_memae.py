from functools import cache

import numpy as np
import pytest
import torch

from offnormal.data.clips import Windows
from offnormal.detectors.memae import MemAE
from offnormal.metrics.video import FrameScores, video_metrics
from offnormal.scoring import align
from offnormal.types import Frame, InputSpec
from tests.conftest import GOLDEN
from tests.hash_recipe import state_dict

FORWARD = {"memae": ("memae_forward", {}), "ae": ("ae_forward", {"memory": 0})}


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
    made = MemAE(**options, compat="code", spec=clips(32, 48, targets=(8,)))
    made.load_reference_state_dict(state)
    return made, stored


def clips(height, width, frames=16, channels=1, **more):
    return InputSpec(size=(height, width), channels=channels, frames=frames, **more)


# --- the published network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", FORWARD)
def test_it_gives_what_the_reference_gives(golden, which):
    made, stored = published(golden, which)
    made.eval()
    clip = torch.from_numpy(stored["clip"])
    with torch.no_grad():
        output, attention = made.net(clip)
        code = made.net.encoder(clip)["stage4"]
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
def test_the_published_error_of_a_clip(golden, which):
    made, stored = published(golden, which)
    with torch.no_grad():
        found = made.eval()((torch.from_numpy(stored["clip"]) + 1) / 2)
    np.testing.assert_allclose(found.score.numpy()[:, 0], stored["eval_clip_error"], atol=1e-5)
    assert found.map.shape == (2, 1, 32, 48)
    np.testing.assert_allclose(found.map.mean((1, 2, 3)).numpy(), stored["eval_clip_error"], atol=1e-5)


@pytest.mark.parametrize("which", FORWARD)
def test_two_training_steps_are_the_references(golden, which):
    made, stored = published(golden, which)
    made.train()
    clip = (torch.from_numpy(stored["clip"]) + 1) / 2
    (optimizer,) = made.optimizers().values()
    names = {f"mem_rep.{name}.weight" if name == "memory" else name: p for name, p in made.net.named_parameters()}
    for step in range(2):
        ((name, losses),) = made.training_step(clip)
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


def test_names_and_numbers_of_parameters_are_the_references(golden):
    numbers = {"memae": 6_492_801, "ae": 5_980_801}
    for which, (_, options) in FORWARD.items():
        made = MemAE(**options, spec=clips(16, 16))
        assert sum(p.numel() for p in made.net.parameters()) == numbers[which]
        state = weights(which, 23)
        own = {k.replace("memory", "mem_rep.memory.weight"): v for k, v in made.net.state_dict().items()}
        assert {k: v.shape for k, v in own.items() if not k.endswith("tracked")} == {
            k: v.shape for k, v in state.items()
        }


def test_alignment_and_auc_of_the_published_script(golden):
    stored = golden("memae_score")
    videos = sorted({key.split("__")[0] for key in stored if "__" in key})
    spec = MemAE(compat="code", width=1, memory=1).input
    assert spec.hop == 1
    series = []
    for name in videos:
        errors, labels = stored[f"{name}__clip_errors_f64"], stored[f"{name}__labels"]
        windows = Windows(spec)
        frames = [Frame(index, None, np.zeros(0)) for index in range(len(labels))]
        spoken = [[target.index for target in clip.targets] for frame in frames for clip in windows.push(frame)]
        found = align(errors[:, None], np.array(spoken), len(labels))
        assert np.array_equal(np.flatnonzero(found.covered), np.arange(len(labels))[8:-7])
        assert np.array_equal(labels[found.covered], stored[f"{name}__labels_used"])
        series.append(FrameScores(name, found.score.astype(np.float64), labels.astype(bool), None))
    metrics = video_metrics(series).metrics
    assert metrics["frame_AUC_micro_per_video_norm"] == pytest.approx(float(stored["auc_f64"]), abs=1e-9)
