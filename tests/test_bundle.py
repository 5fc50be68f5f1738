import hashlib
import json
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml

from offnormal import files
from offnormal.bundle import describe, load, rebuild, state_hash
from offnormal.calibration.calibration import calibrate_scores
from offnormal.errors import BundleError, CalibrationError, NotFittedError, OffnormalError
from tests.conftest import GOLDEN


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


def test_a_bundle_that_was_written_before_an_option_was_added_is_used_like_any_other(tmp_path):
    folder = shutil.copytree(GOLDEN / "bundle_format_3", tmp_path / "old")  # `top_share`, `fps`, ... are new to it

    def forget(config):
        for key in ("fps", "sampling", "hop", "targets"):
            del config["input"][key]
        del config["detector"]["top_share"]

    stored = rewrite(folder, forget)
    digest = hashlib.sha256(json.dumps(stored, sort_keys=True).encode())
    for name, tensor in sorted(safetensors.numpy.load_file(folder / "model.safetensors").items()):
        digest.update(f"{name} {tensor.shape} torch.{tensor.dtype}".encode() + tensor.tobytes())
    old = digest.hexdigest()[:16]
    edit_card(folder, bundle=old)
    (folder / "calibration.json").unlink()
    bundle = load(folder)
    spec = bundle.detector.input
    assert (spec.fps, spec.sampling, spec.hop, spec.targets) == (None, "window", 1, (-1,))
    assert bundle.hash == old != state_hash(bundle.detector), "its values are not all that a new one would store"
    bundle.replace_calibration(more(bundle), source="monday")
    for again in (load(folder).save(tmp_path / "saved"), bundle.copy().save(tmp_path / "copied")):
        assert load(again).hash == old and load(again).calibration == bundle.calibration


def test_a_stored_bundle_of_this_format_loads():
    bundle = load(GOLDEN / "bundle_format_3")
    assert (bundle.hash, bundle.calibration.id, bundle.history.current) == ("fe19421e823d72d9", "6fe20ee6ea0c", 1)


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
    path = copy / "calibrations/001.json"
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
        loaded.replace_calibration(foreign, source="more")
    calibration = calibrate_scores(scores, scores, rate=None, kind="held_out", bundle=loaded.hash)
    loaded.replace_calibration(calibration, source="more")
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
    assert {p.suffix for p in copy.rglob("*") if p.is_file()} == {".safetensors", ".yaml", ".json"}


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


@pytest.fixture
def cheap(plain, tmp_path):
    return shutil.copytree(plain / "bundle", tmp_path / "cheap")


def rewrite(cheap, change):
    """Change the configuration and its hash, as somebody who wants to be believed; return it."""
    config = yaml.safe_load((cheap / "config.yaml").read_text(encoding="utf-8"))
    change(config)
    (cheap / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    card = json.loads((cheap / "card.json").read_text(encoding="utf-8"))
    card["sha256"]["config.yaml"] = hashlib.sha256((cheap / "config.yaml").read_bytes()).hexdigest()
    (cheap / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["input"].update(size=[96]), r"size\.1: Field required"),
        (lambda c: c["input"].update(size=96), "size: Input should be a valid array"),
        (lambda c: c["input"].update(size=[10**6, 10**6]), "at most 1,000,000,000 pixels"),
        (lambda c: c["input"].update(size=[10**30, 1]), "at most|size"),
        (lambda c: c["input"].update(fps="often"), "fps: Input should be a valid number"),
        (lambda c: c["input"].update(resize=[]), "resize: Input should be an object"),
        (lambda c: c["input"].update(speed=1), "unknown key 'speed'"),
        (lambda c: c["input"].update(mask=5), "mask"),
        (lambda c: c.update(weights={}), "weights: Input should be a valid list"),
        (lambda c: c.update(weights=[1]), r"weights\.0: Input should be a valid dictionary"),
        (lambda c: c.update(weights=[{}]), "1 card; expected 0"),
        (lambda c: c["detector"].update(name=1.5), r"detector\.name: 1\.5"),
        (lambda c: c["detector"].update(seed="many"), "seed"),
        (lambda c: c["detector"].update(seed=10**30), "seed|bundle"),
        (lambda c: c.update(detector=[]), "detector: Input should be a valid dictionary"),
        (lambda c: c.pop("detector"), "detector: Field required"),
        (lambda c: c.update(more=1), "unknown key 'more'"),
    ],
)
def test_a_configuration_of_the_wrong_shape_is_explained(cheap, change, message):
    rewrite(cheap, change)
    with pytest.raises(OffnormalError, match=message):
        load(cheap)


def edit_card(folder, **values):
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    (folder / "card.json").write_text(json.dumps({**card, **values}), encoding="utf-8")


@pytest.mark.parametrize("checksums", [{}, [], None, {"config.yaml": "x"}, {"model.safetensors": "x"}])
def test_files_without_a_checksum_are_refused(cheap, checksums):
    edit_card(cheap, sha256=checksums)
    with pytest.raises(BundleError, match=r"no sha256 of .*, so they cannot be checked; copy the bundle again"):
        load(cheap)


@pytest.mark.parametrize("name", ["/dev/zero", "../secret", "../cheap2/model", "calibrations"])
def test_names_in_the_card_cannot_leave_the_bundle(cheap, tmp_path, name):
    (tmp_path / "secret").write_text("secret")
    card = json.loads((cheap / "card.json").read_text(encoding="utf-8"))
    edit_card(cheap, sha256={name: hashlib.sha256(b"secret").hexdigest(), **card["sha256"]})
    with pytest.raises(BundleError, match=r"is outside the bundle|is not a regular file"):
        load(cheap)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "card.json", "calibration.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_regular_files_inside_are_read(cheap, tmp_path, name, kind):
    (cheap / name).rename(tmp_path / name)
    if kind == "link":
        (cheap / name).symlink_to(tmp_path / name)
    else:
        os.mkfifo(cheap / name)
    with pytest.raises(BundleError, match=r"is outside the bundle|is not a regular file|no bundle found"):
        load(cheap)


def test_a_link_within_the_bundle_and_to_the_bundle_is_followed(cheap, tmp_path):
    (cheap / "model.safetensors").rename(cheap / "weights")
    (cheap / "model.safetensors").symlink_to("weights")
    (tmp_path / "link").symlink_to(cheap)
    assert load(tmp_path / "link").hash == load(cheap).hash


def test_another_model_with_its_own_checksums_is_refused(cheap, copy):
    card = json.loads((copy / "card.json").read_text(encoding="utf-8"))
    for name in ("model.safetensors", "config.yaml"):
        shutil.copy(copy / name, cheap / name)
    edit_card(cheap, sha256=card["sha256"])
    with pytest.raises(BundleError, match=rf"have hash {card['bundle']}, but card\.json says .*; copy the whole"):
        load(cheap)


def more(bundle, seed=1, n=200):
    scores = np.random.default_rng(seed).normal(size=n)
    return calibrate_scores(scores, scores, rate=None, kind="held_out", bundle=bundle.hash)


def test_calibrations_are_added_undone_and_used_again(cheap, tmp_path):
    bundle = load(cheap)
    first, second = bundle.calibration, more(bundle)
    assert [(entry.number, entry.source) for entry in bundle.history.entries] == [(1, "fit")]
    assert bundle.history.entries[0].fingerprint == bundle.card["data"]["fingerprint"]
    bundle.replace_calibration(second, source="monday", fingerprint="f")
    assert load(cheap).calibration == second
    bundle = load(cheap)
    bundle.undo_calibration()
    assert bundle.calibration == first and load(cheap).calibration == first
    bundle.use_calibration(2)
    again = load(cheap)
    assert again.calibration == second and [entry.source for entry in again.history.entries] == ["fit", "monday"]
    again.save(tmp_path / "copy")
    copied = load(tmp_path / "copy")
    assert copied.history == again.history and copied.calibration == second
    copied.undo_calibration()
    assert copied.calibration == first


def test_programs_that_calibrate_one_bundle_at_once_lose_nothing(cheap):
    bundles = [load(cheap) for _ in range(6)]
    barrier = threading.Barrier(6)

    def calibrate(bundle, seed):
        calibration = more(bundle, seed)
        barrier.wait()
        bundle.replace_calibration(calibration, source=f"day {seed}")

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(calibrate, bundle, seed) for seed, bundle in enumerate(bundles)]:
            future.result()
    history = load(cheap).history
    assert [entry.number for entry in history.entries] == [1, 2, 3, 4, 5, 6, 7]
    assert {entry.source for entry in history.entries} == {"fit", *(f"day {seed}" for seed in range(6))}
    assert (history.current, history.earlier) == (7, (1, 2, 3, 4, 5, 6))
    for number in range(1, 8):
        bundles[0].use_calibration(number)
        assert bundles[0].calibration.id == history.entry(number).id


def test_ways_back_start_from_what_is_on_disk(cheap):
    first, second = load(cheap), load(cheap)
    first.replace_calibration(more(first), source="monday")
    second.use_calibration(2)
    assert second.calibration == first.calibration and second.history.earlier == (1,)
    second.undo_calibration()
    assert load(cheap).history.current == 1


def test_saving_a_bundle_again_loses_no_calibration_of_other_programs(cheap):
    first, second = load(cheap), load(cheap)
    first.replace_calibration(more(first), source="monday")
    second.save(cheap)
    history = load(cheap).history
    assert [entry.source for entry in history.entries] == ["fit", "monday", "fit"]
    assert load(cheap).calibration == second.calibration != first.calibration


def test_the_current_calibration_again_changes_nothing(cheap):
    bundle = load(cheap)
    first = bundle.calibration
    second = more(bundle)
    bundle.replace_calibration(second, source="monday")
    bundle.undo_calibration()
    stored = {path: path.read_bytes() for path in (cheap / "calibrations").iterdir()}
    bundle.replace_calibration(first, source="monday")
    assert {path: path.read_bytes() for path in (cheap / "calibrations").iterdir()} == stored
    bundle.use_calibration(2)
    assert load(cheap).calibration == second, "the second one is not overwritten"


def test_a_bundle_that_was_moved_aside_is_restored(cheap, caplog):
    before = load(cheap).hash
    cheap.replace(files._old_of(cheap))  # as by a kill while it was replaced
    assert load(cheap).hash == before
    assert f"{cheap}: restored; a program was killed while it replaced this folder" in caplog.text


def test_a_kill_between_the_two_files_leaves_the_old_calibration(cheap, monkeypatch):
    bundle = load(cheap)

    def kill(path, text):
        if path.name == "calibration.json":
            raise KeyboardInterrupt
        path.write_text(text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("offnormal.bundle.write_text", kill)
        bundle.replace_calibration(more(bundle), source="monday")
    assert (cheap / "calibrations/002.json").exists()
    old = load(cheap)
    assert old.calibration.kind == "leave_one_out" and len(old.history.entries) == 1
    old.replace_calibration(more(old, seed=2), source="tuesday")
    assert load(cheap).history.current == 3, "the number of the lost one is not used again"


def test_a_calibration_that_is_exchanged_is_refused(cheap):
    bundle = load(cheap)
    bundle.replace_calibration(more(bundle), source="monday")
    shutil.copy(cheap / "calibrations/001.json", cheap / "calibrations/002.json")
    with pytest.raises(CalibrationError, match=r"is not the calibration that calibration\.json lists; calibrate again"):
        load(cheap)


def test_a_damaged_list_is_made_again_from_the_files(cheap, caplog):
    bundle = load(cheap)
    first = bundle.calibration
    bundle.replace_calibration(more(bundle), source="monday")
    (cheap / "calibrations/002.json").replace(cheap / "calibrations/1000.json")
    shutil.copy(cheap / "calibrations/001.json", cheap / "calibrations/999.json")
    (cheap / "calibration.json").write_bytes(b"[" * 100_000)
    with pytest.raises(BundleError, match=r"calibration\.json: .*; calibrate again"):
        load(cheap)
    bundle = load(cheap, calibrated=False)
    assert "the list is rebuilt from the calibrations" in caplog.text and bundle.history.current is None
    assert [entry.number for entry in bundle.history.entries] == [1, 999, 1000]
    bundle.use_calibration(1)
    assert load(cheap).calibration == first


def test_every_file_of_a_bundle_follows_the_umask(cheap, tmp_path):
    before = os.umask(0o077)
    try:
        load(cheap).save(tmp_path / "private")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "private").rglob("*") if path.is_file()}
    assert modes == {0o600}
    load(cheap).save(tmp_path / "public")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "public").rglob("*") if path.is_file()}
    assert modes == {0o666 & ~before}
