"""Small datasets of videos and clips, and detectors fitted on them."""

import pytest

from offnormal.config.layers import build
from offnormal.config.score import EvaluateConfig
from offnormal.verbs.evaluate import evaluate_all
from offnormal.verbs.fit import fit_config, fit_run
from tests.actions import write_actions
from tests.footage import write_footage


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Three normal training videos and two labeled test videos; do not change them."""
    return write_footage(tmp_path_factory.mktemp("sets") / "yard")


@pytest.fixture(scope="session")
def fit_videos():
    """Fit PaDiM on videos: `fit_videos(data, out, **options)`."""

    def fit(data, out, **options):
        values = {"data": data, "out": out, "size": 64, "batch_size": 8, **options}
        return fit_run("padim", build(fit_config("padim"), values, environment={}))[0]

    return fit


@pytest.fixture(scope="session")
def fitted_on_footage(fit_videos, footage, tmp_path_factory):
    """The run of PaDiM fitted on `footage`; its bundle is not to be changed."""
    return fit_videos(footage, tmp_path_factory.mktemp("runs"), every="0.2s")


@pytest.fixture(scope="session")
def actions(tmp_path_factory):
    """A tree of classes of clips; do not change it."""
    return write_actions(tmp_path_factory.mktemp("sets") / "clips")


@pytest.fixture
def fit_clips(plugged, actions, tmp_path):
    """Fit the tiny detector of whole clips on `actions`: `fit_clips(**options)`."""

    def fit(**options):
        values = {"data": actions, "out": tmp_path / "runs", "device": "cpu", "epochs": 4, **options}
        return fit_run("moves", build(fit_config("moves"), values, environment={}))[0]

    return fit


@pytest.fixture
def evaluate_clips(actions):
    """Evaluate a bundle on `actions`, or other clips: `evaluate_clips(path, data)`."""

    def evaluate(path, data=actions, **options):
        return evaluate_all(path, build(EvaluateConfig, {"data": data, "device": "cpu", **options}, environment={}))[0]

    return evaluate
