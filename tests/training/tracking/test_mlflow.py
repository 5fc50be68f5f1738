"""A run in its own MLflow database."""

from __future__ import annotations

import pytest

from offnormal.training.tracking.tracker import Point, RunInfo
from tests.training.tracking.test_tensorboard import png

tracking = pytest.importorskip("mlflow.tracking")
pytest.importorskip("sqlalchemy")


@pytest.fixture
def info(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow stores images there
    tracking.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield RunInfo(folder=tmp_path, project="mine", name="called")
    tracking.set_tracking_uri(None)


def open_tracker(info, ident=None):
    from offnormal.training.tracking.mlflow import MLflow

    MLflow.check()
    return MLflow(info, ident)


def test_all_values_are_stored_and_a_later_process_continues_the_same_run(info):
    first = open_tracker(info)
    first.configure({"size": "16", "detector": {"name": "plain"}, "long": "x" * 9000})
    points = [Point(step, 1000.0 + step, {"train/g/loss": 1 / step, "odd=name": 1.0}) for step in range(1, 601)]
    first.log_points(points)
    first.log_points(points)  # again, as after a failure
    first.close(failed=True)
    client = tracking.MlflowClient()
    assert client.get_run(first.ident).info.status == "FAILED"
    again = open_tracker(info, first.ident)
    assert client.get_run(first.ident).info.status == "RUNNING"
    again.log_points([Point(601, 2000.0, {"train/g/loss": 7.0})])
    again.log_summary({"evaluation/image_AUROC": 0.75, "training/stopped": "done"}, 601)
    again.log_image("curves/g", png(), 601)
    again.close(failed=False)

    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (first.ident, "called", "FINISHED")
    assert {name: run.data.params[name] for name in ("size", "detector.name")} == {
        "size": "16",
        "detector.name": "plain",
    }
    history = client.get_metric_history(first.ident, "train/g/loss")
    assert [(metric.step, metric.timestamp) for metric in history] == [
        *((step, 1000_000 + 1000 * step) for step in range(1, 601)),
        (601, 2000_000),
    ]
    assert run.data.metrics["evaluation/image_AUROC"] == 0.75
    assert run.data.tags["training/stopped"] == "done"
    assert "odd_name" in run.data.metrics
    assert [artifact.path for artifact in client.list_artifacts(first.ident, "curves")] == ["curves/g.png"]


def test_the_login_in_an_address_is_hidden(info, monkeypatch):
    tracker = open_tracker(info)
    monkeypatch.setattr(tracking, "get_tracking_uri", lambda: "https://me:word@host")
    assert type(tracker)(info, tracker.ident).location == f"run {tracker.ident} in https://***@host"
