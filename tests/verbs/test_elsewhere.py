"""A fit that is tracked and uploaded, from its beginning to its evaluation, with whatever goes wrong between."""

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
from offnormal.verbs import elsewhere
from offnormal.verbs.evaluate import evaluate_run
from offnormal.verbs.fit import fit_config, fit_run, resumed_config
from tests.training.test_resume import fit as fit_by_command
from tests.training.test_resume import killed

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def fit(name="pair", resume=None, **given):
    config = {"device": "cpu", "workers": 2, **given}
    if resume is not None:
        config["resume"] = resume
    built = build(fit_config(name), config, file=resumed_config(resume), environment={}, detector=name)
    return fit_run(name, built)[0]


@pytest.fixture
def parts(tmp_path, plugged):
    return write_parts(tmp_path / "parts", train=12, size=32)


@pytest.fixture
def given(parts, tmp_path):
    return {"data": parts, "out": tmp_path / "runs", "size": 16, "batch_size": 4, "epochs": 3}


def scalars(run):
    found = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    return found


def test_a_fit_and_its_evaluation_are_shown_in_one_tracked_run(given, parts):
    run = fit(**given, track=["tensorboard"])
    ((name, place, missing),) = [(one.name, one.place, one.missing) for one in run.elsewhere]
    assert (name, place, missing) == ("tensorboard", str(run.path / "tensorboard"), None)
    log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    logged = [(line["step"], line["losses"]["maker"]["loss"]) for line in log if line["event"] == "step"]
    shown = scalars(run)
    assert [(one.step, pytest.approx(one.value)) for one in shown.Scalars("train/maker/loss")] == logged
    assert shown.Tags()["images"] == ["curves/maker", "curves/judge", "curves/held-out normals"]
    (dataset,) = open_datasets(parts)
    found, _ = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    (auroc,) = scalars(run).Scalars("evaluation/image_AUROC")
    assert auroc.value == pytest.approx(found.metrics["image_AUROC"])


def test_a_detector_without_training_is_shown_and_uploaded_too(parts, tmp_path):
    run = fit(
        "padim", data=parts, out=tmp_path / "runs", size=32, track="tensorboard", upload=f"file://{tmp_path}/kept"
    )
    assert [one.missing for one in run.elsewhere] == [None, None]
    assert scalars(run).Scalars("fit/seconds")[0].value > 0
    assert load(tmp_path / "kept" / run.path.name).hash == run.bundle.hash


def test_what_is_tracked_and_uploaded_changes_nothing_that_is_learned(given, tmp_path):
    plain = fit(**given)
    shown = fit(**given, track=["tensorboard"], upload=f"file://{tmp_path}/kept")
    assert shown.bundle.hash == plain.bundle.hash


@pytest.mark.slow
def test_a_killed_fit_goes_on_in_the_same_tracked_run_and_copy(plugged, pictures, tmp_path):
    kept = tmp_path / "kept"
    arguments = ["pair", "--normal", pictures, "--device", "cpu", "--epochs", 60, "--batch-size", 6, "--size", 16]
    arguments += ["--threads", 1, "--slow-s", 0.01, "--track", "tensorboard", "--upload", f"file://{kept}"]
    broken = killed(40, tmp_path / "broken", *arguments, "--out", tmp_path / "broken")
    known = json.loads((broken / "tracking.json").read_text())["tensorboard"]["id"]
    assert fit_by_command("pair", "--resume", broken) == broken
    assert json.loads((broken / "tracking.json").read_text())["tensorboard"]["id"] == known
    found = accumulator.EventAccumulator(str(broken / "tensorboard"))
    found.Reload()
    assert [one.step for one in found.Scalars("train/maker/loss")] == list(range(1, 241))
    copy = kept / broken.name
    assert load(copy).hash == load(broken).hash
    assert (copy / "log.jsonl").read_bytes() == (broken / "log.jsonl").read_bytes()
    assert not (copy / "checkpoints").exists()


def test_several_processes_are_followed_as_one(given):
    run = fit(**given, devices=2, track=["tensorboard"])
    assert [one.step for one in scalars(run).Scalars("train/maker/loss")] == list(range(1, 7))


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(worker, "_FIRST_S", 0.01)
    for module in (session, uploader):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_trackers_and_stores_that_fail_do_not_stop_the_fit(given, monkeypatch, caplog, tmp_path):
    from offnormal.training.tracking.tensorboard import TensorBoard
    from offnormal.training.upload.store import Store

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoard, "points", full)
    monkeypatch.setattr(Store, "put", full)
    run = fit(**given, track=["tensorboard"], upload=f"file://{tmp_path}/kept")
    assert load(run.path).hash == run.bundle.hash
    tracked, kept = run.elsewhere
    assert "line(s) of the log" in tracked.missing
    assert "No space left on device" in tracked.missing
    assert "not uploaded: config.yaml, log.jsonl" in kept.missing
    assert any(f"offnormal upload {run.path} URL sends the rest" in message for message in caplog.messages)
    log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [line["to"] for line in log if line["event"] == "not_sent"] == ["tensorboard", "upload"]


def test_a_fit_that_fails_keeps_its_checkpoint_elsewhere_and_its_own_error(given, tmp_path):
    with pytest.raises(FitError, match="the loss"):
        fit("plain", **given, detector={"nan_at": 5}, track=["tensorboard"], upload=f"file://{tmp_path}/kept")
    (copy,) = (tmp_path / "kept").iterdir()
    assert '"event": "failed"' in (copy / "log.jsonl").read_text()


def test_a_fit_stopped_in_time_can_be_gone_on_with_from_its_copy(given, tmp_path):
    plain = fit(**given)
    run = fit(**given, max_time="1ms", upload=f"file://{tmp_path}/kept")
    again = fit(resume=tmp_path / "kept" / run.path.name, max_time=None, upload=None)
    assert again.path.parent == tmp_path / "kept"
    assert again.bundle.hash == plain.bundle.hash


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"track": ["tensorbord"]}, "tensorboard"),
        ({"track_project": "x"}, "without --track"),
        ({"track_run": "x"}, "without --track"),
        ({"upload": "kept"}, "expected an address"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(given, more, message):
    with pytest.raises(ConfigError, match=message):
        fit(**given, **more)
    assert not given["out"].exists()


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_its_extra_before_anything_is_read(given, name, monkeypatch):

    monkeypatch.setattr(session, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"'{name}' is not installed; pip install 'offnormal\[{name}\]'"):
        fit(**given, track=[name])
    assert not given["out"].exists()


def test_an_evaluation_goes_on_without_a_tracker_that_is_gone(given, parts, monkeypatch, caplog):
    run = fit(**given, track=["tensorboard"])

    def missing(names):
        raise ConfigError("not installed")

    monkeypatch.setattr(elsewhere, "check", missing)
    (dataset,) = open_datasets(parts)
    evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    assert "the evaluation is not tracked: not installed" in caplog.text


def test_no_secret_is_written_anywhere_in_the_run_or_its_copy(given, monkeypatch):
    import fsspec

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-environment")
    run = fit(**given, track=["tensorboard"], upload="memory://me:pass-word@kept")
    assert yaml.safe_load((run.path / "config.yaml").read_text())["upload"] == "memory://***@kept"
    memory = fsspec.filesystem("memory")
    copy = [memory.cat_file(name) for name in memory.find("/")]
    assert len(copy) > 5
    for data in (*(path.read_bytes() for path in run.path.rglob("*") if path.is_file()), *copy):
        assert b"pass-word" not in data
        assert b"a-secret-of-the-environment" not in data
    stopped = fit(**given, max_time="1ms", upload="memory://me:pass-word@kept")
    with pytest.raises(ConfigError, match="give --upload with the whole address again"):
        fit(resume=stopped.path)
