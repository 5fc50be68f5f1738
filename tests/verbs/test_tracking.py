"""A tracked and uploaded fit, from its start to its evaluation, with all kinds of failures."""

from __future__ import annotations

import json

import pytest
import yaml

from offnormal.bundle import load
from offnormal.config.layers import build
from offnormal.config.score import EvaluateConfig
from offnormal.data.open import open_datasets
from offnormal.errors import ConfigError, FitError
from offnormal.testing.scenes import write_parts
from offnormal.training import worker
from offnormal.training.tracking import session
from offnormal.training.upload import uploader
from offnormal.verbs import tracking
from offnormal.verbs.evaluate import evaluate_run
from offnormal.verbs.fit import fit_config, fit_run, resumed_config
from tests.training.test_resume import fit as fit_by_command
from tests.training.test_resume import kill_fit

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def fit(name="pair", resume=None, **options):
    config = {"device": "cpu", "workers": 2, **options}
    if resume is not None:
        config["resume"] = resume
    built = build(fit_config(name), config, file=resumed_config(resume), environment={}, detector=name)
    return fit_run(name, built)[0]


@pytest.fixture
def parts(tmp_path, plugged):
    return write_parts(tmp_path / "parts", train=12, size=32)


@pytest.fixture
def options(parts, tmp_path):
    return {"data": parts, "out": tmp_path / "runs", "size": 16, "batch_size": 4, "epochs": 3}


def scalars(run):
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return events


def test_a_fit_and_its_evaluation_are_in_one_tracked_run(options, parts):
    run = fit(**options, track=["tensorboard"])
    ((name, location, missing),) = [(d.name, d.location, d.missing) for d in run.destinations]
    assert (name, location, missing) == ("tensorboard", str(run.path / "tensorboard"), None)
    log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    logged = [(line["step"], line["losses"]["maker"]["loss"]) for line in log if line["event"] == "step"]
    events = scalars(run)
    assert [(scalar.step, pytest.approx(scalar.value)) for scalar in events.Scalars("train/maker/loss")] == logged
    assert events.Tags()["images"] == ["curves/maker", "curves/judge", "curves/held-out normals"]
    (dataset,) = open_datasets(parts)
    evaluation, _ = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    (auroc,) = scalars(run).Scalars("evaluation/image_AUROC")
    assert auroc.value == pytest.approx(evaluation.metrics["image_AUROC"])


def test_a_statistical_detector_is_tracked_and_uploaded_too(parts, tmp_path):
    run = fit(
        "padim", data=parts, out=tmp_path / "runs", size=32, track="tensorboard", upload=f"file://{tmp_path}/backup"
    )
    assert [destination.missing for destination in run.destinations] == [None, None]
    assert scalars(run).Scalars("fit/seconds")[0].value > 0
    assert load(tmp_path / "backup" / run.path.name).hash == run.bundle.hash


def test_tracking_and_upload_do_not_change_the_result(options, tmp_path):
    plain = fit(**options)
    tracked = fit(**options, track=["tensorboard"], upload=f"file://{tmp_path}/backup")
    assert tracked.bundle.hash == plain.bundle.hash


@pytest.mark.slow
def test_a_killed_fit_continues_in_the_same_tracked_run_and_copy(plugged, pictures, tmp_path):
    backup = tmp_path / "backup"
    arguments = ["pair", "--normal", pictures, "--device", "cpu", "--epochs", 60, "--batch-size", 6, "--size", 16]
    arguments += ["--threads", 1, "--slow-s", 0.01, "--track", "tensorboard", "--upload", f"file://{backup}"]
    interrupted = kill_fit(40, tmp_path / "interrupted", *arguments, "--out", tmp_path / "interrupted")
    tracked_id = json.loads((interrupted / "tracking.json").read_text())["tensorboard"]["id"]
    assert fit_by_command("pair", "--resume", interrupted) == interrupted
    assert json.loads((interrupted / "tracking.json").read_text())["tensorboard"]["id"] == tracked_id
    events = accumulator.EventAccumulator(str(interrupted / "tensorboard"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("train/maker/loss")] == list(range(1, 241))
    copy = backup / interrupted.name
    assert load(copy).hash == load(interrupted).hash
    assert (copy / "log.jsonl").read_bytes() == (interrupted / "log.jsonl").read_bytes()
    assert not (copy / "checkpoints").exists()


def test_several_processes_are_tracked_as_one(options):
    run = fit(**options, devices=2, track=["tensorboard"])
    assert [scalar.step for scalar in scalars(run).Scalars("train/maker/loss")] == list(range(1, 7))


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(worker, "_FIRST_S", 0.01)
    for module in (session, uploader):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_trackers_and_stores_that_fail_do_not_stop_the_fit(options, monkeypatch, caplog, tmp_path):
    from offnormal.training.tracking.tensorboard import TensorBoard
    from offnormal.training.upload.store import Store

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoard, "log_points", full)
    monkeypatch.setattr(Store, "put", full)
    run = fit(**options, track=["tensorboard"], upload=f"file://{tmp_path}/backup")
    assert load(run.path).hash == run.bundle.hash
    tracked, uploaded = run.destinations
    assert "lines of the log" in tracked.missing
    assert "No space left on device" in tracked.missing
    assert "not uploaded: config.yaml, log.jsonl" in uploaded.missing
    assert any(f"offnormal upload {run.path} URL sends it" in message for message in caplog.messages)
    log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [line["destination"] for line in log if line["event"] == "not_sent"] == ["tensorboard", "upload"]


def test_a_failed_fit_uploads_its_log_and_raises_its_own_error(options, tmp_path):
    with pytest.raises(FitError, match="the loss"):
        fit("plain", **options, detector={"nan_at": 5}, track=["tensorboard"], upload=f"file://{tmp_path}/backup")
    (copy,) = (tmp_path / "backup").iterdir()
    assert '"event": "failed"' in (copy / "log.jsonl").read_text()


def test_a_fit_stopped_by_max_time_can_be_resumed_from_its_copy(options, tmp_path):
    plain = fit(**options)
    run = fit(**options, max_time="1ms", upload=f"file://{tmp_path}/backup")
    again = fit(resume=tmp_path / "backup" / run.path.name, max_time=None, upload=None)
    assert again.path.parent == tmp_path / "backup"
    assert again.bundle.hash == plain.bundle.hash


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"track": ["tensorbord"]}, "tensorboard"),
        ({"track_project": "x"}, "needs --track"),
        ({"track_run": "x"}, "needs --track"),
        ({"upload": "backup"}, "expected a URL"),
    ],
)
def test_invalid_options_are_refused_before_any_data_is_read(options, more, message):
    with pytest.raises(ConfigError, match=message):
        fit(**options, **more)
    assert not options["out"].exists()


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_its_extra_before_any_data_is_read(options, name, monkeypatch):

    monkeypatch.setattr(session, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"'{name}' is not installed; pip install 'offnormal\[{name}\]'"):
        fit(**options, track=[name])
    assert not options["out"].exists()


def test_an_evaluation_continues_without_a_missing_tracker(options, parts, monkeypatch, caplog):
    run = fit(**options, track=["tensorboard"])

    def missing(names):
        raise ConfigError("not installed")

    monkeypatch.setattr(tracking, "check_trackers", missing)
    (dataset,) = open_datasets(parts)
    evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    assert "the evaluation is not tracked: not installed" in caplog.text


def test_no_secret_is_written_to_the_run_or_its_copy(options, monkeypatch):
    import fsspec

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-environment")
    run = fit(**options, track=["tensorboard"], upload="memory://me:pass-word@backup")
    assert yaml.safe_load((run.path / "config.yaml").read_text())["upload"] == "memory://***@backup"
    memory = fsspec.filesystem("memory")
    copy = [memory.cat_file(name) for name in memory.find("/")]
    assert len(copy) > 5
    for data in (*(path.read_bytes() for path in run.path.rglob("*") if path.is_file()), *copy):
        assert b"pass-word" not in data
        assert b"a-secret-of-the-environment" not in data
    stopped = fit(**options, max_time="1ms", upload="memory://me:pass-word@backup")
    with pytest.raises(ConfigError, match="give --upload with the complete URL again"):
        fit(resume=stopped.path)
