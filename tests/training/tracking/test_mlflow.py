"""A run in an MLflow database of its own."""

from __future__ import annotations

import pytest

from offnormal.training.tracking.tracker import About, Point
from tests.training.tracking.test_tensorboard import png

tracking = pytest.importorskip("mlflow.tracking")
pytest.importorskip("sqlalchemy")


@pytest.fixture
def about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MLflow keeps pictures
    tracking.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield About(folder=tmp_path, project="mine", name="called")
    tracking.set_tracking_uri(None)


def opened(about, ident=None):
    from offnormal.training.tracking.mlflow import MLflow

    MLflow.check()
    return MLflow(about, ident)


def test_everything_is_read_back_and_a_later_process_goes_on_with_the_same_run(about):
    first = opened(about)
    first.configure({"size": "16", "detector": {"name": "plain"}, "long": "x" * 9000})
    points = [Point(step, 1000.0 + step, {"train/g/loss": 1 / step, "odd=name": 1.0}) for step in range(1, 601)]
    first.points(points)
    first.points(points)  # after a failure
    first.close(failed=True)
    client = tracking.MlflowClient()
    assert client.get_run(first.ident).info.status == "FAILED"
    again = opened(about, first.ident)
    assert client.get_run(first.ident).info.status == "RUNNING"
    again.points([Point(601, 2000.0, {"train/g/loss": 7.0})])
    again.summary({"evaluation/image_AUROC": 0.75, "training/stopped": "done"}, 601)
    again.picture("curves/g", png(), 601)
    again.close(failed=False)

    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (first.ident, "called", "FINISHED")
    assert {name: run.data.params[name] for name in ("size", "detector.name")} == {
        "size": "16",
        "detector.name": "plain",
    }
    history = client.get_metric_history(first.ident, "train/g/loss")
    assert [(one.step, one.timestamp) for one in history] == [
        *((step, 1000_000 + 1000 * step) for step in range(1, 601)),
        (601, 2000_000),
    ]
    assert run.data.metrics["evaluation/image_AUROC"] == 0.75
    assert run.data.tags["training/stopped"] == "done"
    assert "odd_name" in run.data.metrics
    assert [one.path for one in client.list_artifacts(first.ident, "curves")] == ["curves/g.png"]


def test_the_login_in_the_address_is_not_shown(about, monkeypatch):
    made = opened(about)
    monkeypatch.setattr(tracking, "get_tracking_uri", lambda: "https://me:word@host")
    assert type(made)(about, made.ident).place == f"run {made.ident} in https://***@host"
