"""Every registered detector passes the public checks, and a broken one does not."""

import copy

import pytest

from offnormal import registry
from offnormal.detectors.baselines import PixelGaussian
from offnormal.errors import ConfigError
from offnormal.testing import check_detector
from offnormal.testing import detector as checks

SMALL = {  # fit settings that are small enough for a test
    "padim": {"batch_size": 4},
    "ganomaly": {"batch_size": 4, "steps": 150},
    "mnad": {"batch_size": 4, "steps": 90},
    "memae": {"batch_size": 6, "steps": 150},
    "embedding_ae": {"batch_size": 4, "steps": 300, "embeddings_gb": 0},
}
MNAD = {"width": 4, "learning_rate": 2e-3}
MEMAE = {"pool": "top", "learning_rate": 3e-3, "memory_size": 40}
EMBEDDED = {"frames": 4, "hop": 2}
CASES = [  # name, size, options: at least one a detector
    ("padim", 64, {}),
    ("padim", 64, {"motion": True}),
    ("pixel_gaussian", None, {"pool": "top"}),  # a mean over all pixels would hide a small defect
    ("frame_difference", None, {"pool": "top"}),
    ("ganomaly", 16, {"width": 8, "latent": 8, "score": "contextual", "learning_rate": 2e-3}),
    ("mnad", "32x40", {**MNAD, "online_update": True}),
    ("memae", 32, {**MEMAE, "form": "video", "channels": 3, "width": 8, "frames": 4, "hop": 2, "sigma": 1}),
    ("embedding_ae", 64, {**EMBEDDED, "hop": 1, "head": "knn", "views": 1, "bank": 40}),
]
FURTHER_CASES = [
    ("padim", "64x96", {"grid_stride": 8}),
    ("pixel_gaussian", "24x32", {"pool": "top"}),
    ("mnad", 32, MNAD),
    ("mnad", 32, {**MNAD, "method": "recon", "psnr_share": 1}),
    ("memae", 32, {**MEMAE, "form": "mnist", "channels": 3}),
    ("memae", 32, {**MEMAE, "form": "image", "width": 8}),
    ("embedding_ae", 64, EMBEDDED),
]


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in FURTHER_CASES)],
    ids=str,
)
def test_contract(name, size, options, tmp_path):
    is_harder = name == "frame_difference" or options.get("online_update")
    min_auroc = 0.95 if is_harder else 1.0
    check_detector(name, tmp_path, options=options, size=size, min_auroc=min_auroc, **SMALL.get(name, {}))


def test_every_registered_detector_is_checked():
    assert {name for name, _, _ in CASES} == set(registry.names("detectors"))


class Leaky(PixelGaussian):
    """Scores depend on the other images of the batch."""

    def score_embedding(self, embedding):
        output = super().score_embedding(embedding)
        return type(output)(score=output.score - output.score.mean(), map=output.map)


class Careless(PixelGaussian):
    """Scores before the fit."""

    def forward(self, x):
        if not self.is_fitted:
            return super()._output(self.embed(x))
        return super().forward(x)


class Counting(PixelGaussian):
    """Counts the scored samples in its state."""

    def __init__(self, options, spec):
        super().__init__(options, spec)
        self.register_buffer("count", self.ignored)

    def finish(self, *, keep=False):
        super().finish(keep=keep)
        self.count = self.center.new_zeros(1)

    def forward(self, x):
        self.count += len(x)
        return super().forward(x)


class Inverted(PixelGaussian):
    """Less normal samples get lower scores."""

    def excess(self, deviation):
        return -super().excess(deviation)


class LeavesNothingOut(PixelGaussian):
    """Leave-one-out scores are those of a fit on all samples."""

    def leave_one_out(self, embedding):
        everything = copy.deepcopy(self)
        everything.finish()
        yield everything.score_embedding(embedding)


class SubtractsNothing(PixelGaussian):
    """The statistics of a part stay in the fit without it."""

    def without(self, part):
        return copy.deepcopy(self)


class IgnoresNothing(PixelGaussian):
    """Pixels of the ignored region count."""

    def forward(self, x):
        ignored, self.ignored = self.ignored, None
        try:
            return super().forward(x)
        finally:
            self.ignored = ignored


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Leaky, "check_batches"),
        (Careless, "check_unfitted"),
        (Counting, "check_output"),
        (Inverted, "check_defects"),
        (LeavesNothingOut, "check_leave_one_out"),
        (SubtractsNothing, "check_leave_one_out"),
        (IgnoresNothing, "check_ignored"),
    ],
)
def test_a_broken_detector_fails_its_check(broken, check, tmp_path, monkeypatch):
    point = registry.Entry(f"{__name__}:{broken.__name__}", "broken")
    monkeypatch.setattr(broken, "name", "broken", raising=False)
    monkeypatch.setitem(registry._BUILT_IN["detectors"], "broken", point)
    registry._entries.cache_clear()
    case = checks._FittedCase("broken", tmp_path, {"detector": {"pool": "top"}, "size": 24})
    with pytest.raises((AssertionError, checks.NotFittedError)):
        getattr(checks, f"_{check}")(case)
    registry._entries.cache_clear()


def test_a_failed_check_names_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(PixelGaussian, "pools_map", False)
    monkeypatch.setattr(checks, "CHECKS", (checks._check_pooling,))
    with pytest.raises(AssertionError) as caught:
        check_detector(PixelGaussian, tmp_path, size=16)
    assert "check_pooling of pixel_gaussian" in caught.value.__notes__[0]


def test_an_unregistered_class_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match=r"Inverted is not registered.*entry points"):
        check_detector(Inverted, tmp_path)
