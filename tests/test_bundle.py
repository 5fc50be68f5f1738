import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from offnormal.bundle import describe, load, rebuild, state_hash
from offnormal.calibration.calibration import calibrate_scores
from offnormal.errors import BundleError, CalibrationError, NotFittedError, OffnormalError


@pytest.fixture
def copy(fitted, tmp_path):
    return shutil.copytree(fitted / "bundle", tmp_path / "a bündle")


def test_a_bundle_is_loaded_from_its_folder_or_its_run(fitted):
    assert load(fitted).hash == load(fitted / "bundle").hash


def test_a_bundle_saved_to_another_folder_is_the_same(copy, tmp_path):
    loaded = load(copy)
    loaded.save(tmp_path / "deep" / "er" / "again.bundle")
    again = load(tmp_path / "deep" / "er" / "again.bundle")
    assert again.hash == loaded.hash == state_hash(again.detector)
    assert again.calibration == loaded.calibration
    assert again.card["data"] == loaded.card["data"]
    assert again.card["weights"] == loaded.card["weights"]


def test_the_clip_settings_are_stored(copy):
    detector = load(copy).detector
    detector.input = replace(detector.input, fps=2.5, hop=3, targets=())
    stored = yaml.safe_load(yaml.safe_dump(describe(detector)))
    assert rebuild(stored).input == detector.input


def test_a_bundle_without_clip_settings_loads(copy):
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    for key in ("fps", "sampling", "hop", "targets"):
        del config["input"][key]
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    card = json.loads((copy / "card.json").read_text(encoding="utf-8"))
    card["sha256"]["config.yaml"] = hashlib.sha256((copy / "config.yaml").read_bytes()).hexdigest()
    (copy / "card.json").write_text(json.dumps(card), encoding="utf-8")
    spec = load(copy).detector.input
    assert (spec.fps, spec.sampling, spec.hop, spec.targets) == (None, "window", 1, (-1,))


def test_saving_over_a_bundle_replaces_it(copy):
    loaded = load(copy)
    loaded.save(copy)
    assert load(copy).hash == loaded.hash
    assert not [p for p in copy.parent.iterdir() if p.name.startswith(".")]


def test_saving_over_something_else_is_refused(copy, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(BundleError, match="not a bundle"):
        load(copy).save(tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_a_changed_or_missing_file_is_named(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-3])
    with pytest.raises(BundleError, match=name):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        load(copy)


def test_a_missing_card_another_format_and_invalid_json_are_explained(copy, tmp_path):
    with pytest.raises(BundleError, match="no bundle found"):
        load(tmp_path)
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps({**card, "format_version": 99}))
    with pytest.raises(BundleError, match="update offnormal"):
        load(copy)
    (copy / "card.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        load(copy)


def test_a_tampered_calibration_is_refused(copy):
    path = copy / "calibration.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "threshold": 1e9}))
    with pytest.raises(CalibrationError, match="was edited after it was written"):
        load(copy)


def test_a_bundle_without_calibration_loads(copy):
    (copy / "calibration.json").unlink()
    assert load(copy).calibration is None


def test_a_calibration_of_another_bundle_is_refused(copy):
    loaded = load(copy)
    scores = np.arange(200.0)
    foreign = calibrate_scores(scores, scores, rate=None, kind="held_out", bundle="other")
    with pytest.raises(CalibrationError, match="belongs to"):
        loaded.replace_calibration(foreign)
    calibration = calibrate_scores(scores, scores, rate=None, kind="held_out", bundle=loaded.hash)
    loaded.replace_calibration(calibration)
    assert load(copy).calibration == calibration


def test_the_hash_depends_on_every_tensor(copy):
    detector = load(copy).detector
    before = state_hash(detector)
    detector.gaussians[0].center[0, 0] += 1
    assert state_hash(detector) != before


def test_a_detector_that_is_not_fitted_is_not_saved(copy, tmp_path):
    loaded = load(copy)
    loaded.detector = loaded.detector.blank()
    with pytest.raises(NotFittedError):
        loaded.save(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_no_file_of_a_bundle_needs_pickle(copy):
    assert {p.suffix for p in copy.iterdir()} == {".safetensors", ".yaml", ".json"}


def test_a_full_disk_leaves_the_old_bundle_intact(copy, monkeypatch):
    from safetensors import SafetensorError

    from offnormal.errors import OffnormalError

    loaded = load(copy)

    def full(*_args, **_kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("offnormal.tensors.save_file", full)
    with pytest.raises(OffnormalError, match="disk is full"):
        loaded.save(copy)
    assert load(copy).hash == loaded.hash


def test_statistics_survive_in_full_precision(copy):
    loaded = load(copy)
    assert loaded.detector.gaussians[0].center.dtype == torch.float32


def rewrite(copy, change):
    """Change the configuration and its hash, as somebody who wants to be believed."""
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    change(config)
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    card = json.loads((copy / "card.json").read_text(encoding="utf-8"))
    card["sha256"]["config.yaml"] = hashlib.sha256((copy / "config.yaml").read_bytes()).hexdigest()
    (copy / "card.json").write_text(json.dumps(card), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["input"].update(size=[96]), r"size\.1: Field required"),
        (lambda c: c["input"].update(size=96), "size: Input should be a valid tuple"),
        (lambda c: c["input"].update(size=[10**6, 10**6]), "at most 100,000,000 pixels"),
        (lambda c: c["input"].update(size=[10**30, 1]), "at most|size"),
        (lambda c: c["input"].update(fps="often"), "fps: Input should be a valid number"),
        (lambda c: c["input"].update(resize=[]), "resize: Input should be a dictionary"),
        (lambda c: c["input"].update(speed=1), "unknown key 'speed'"),
        (lambda c: c["input"].update(mask=5), "mask"),
        (lambda c: c.update(weights=[]), "damaged"),
        (lambda c: c.update(weights=[1]), r"weights\.0: Input should be a valid dictionary"),
        (lambda c: c.update(weights=c["weights"] * 2), "2 cards; expected 1"),
        (lambda c: c["detector"].update(name=1.5), r"detector\.name: 1\.5"),
        (lambda c: c["detector"].update(dims="many"), "dims"),
        (lambda c: c["detector"].update(dims=10**30), "dims|damaged"),
        (lambda c: c.update(detector=[]), "detector: Input should be a valid dictionary"),
        (lambda c: c.pop("detector"), "detector: Field required"),
        (lambda c: c.update(more=1), "unknown key 'more'"),
    ],
)
def test_a_configuration_of_the_wrong_shape_is_explained(copy, change, message):
    rewrite(copy, change)
    with pytest.raises(OffnormalError, match=message):
        load(copy)


@pytest.mark.parametrize("name", ["card.json", "config.yaml", "model.safetensors", "calibration.json"])
def test_a_file_that_is_a_pipe_is_refused_at_once(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError, match=r"no bundle found|is a named pipe; expected a regular file|missing"):
        load(copy)
