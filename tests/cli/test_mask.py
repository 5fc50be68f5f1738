"""--privacy-mask as a user types it: what lies under it is seen by nothing, and a threshold belongs to its mask."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from offnormal.api import score
from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.config.layers import build
from offnormal.config.score import EvaluateConfig
from offnormal.data.video_loader import VideoLoader
from offnormal.sources.privacy import rasterize_mask
from offnormal.verbs.evaluate import evaluate_all, score_dataset
from offnormal.verbs.shown_units import ExtremeImages, shown_units
from tests.footage import ANOMALY, film, write_footage
from tests.items import video

OVER_THE_SQUARE = [[[0.05, 0.03], [0.5, 0.03], [0.5, 0.45], [0.05, 0.45]]]
ELSEWHERE = [[[0.6, 0.6], [0.9, 0.6], [0.9, 0.9]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    write_footage(folder / "data")
    (folder / "square.json").write_text(json.dumps(OVER_THE_SQUARE))
    (folder / "else.json").write_text(json.dumps(ELSEWHERE))
    return folder


@pytest.fixture(scope="module")
def masked(root):
    """Run folder of a detector that was fitted with the mask over the square."""
    flags = ["--data", str(root / "data"), "--size", "64", "--out", str(root / "runs")]
    assert run(["fit", "pixel_gaussian", *flags, "--privacy-mask", str(root / "square.json")]) == 0
    (run_folder,) = (root / "runs").iterdir()
    return run_folder


def test_a_bundle_keeps_its_mask_and_is_another_one_for_it(root, masked):
    bundle = load(masked)
    assert [list(map(list, polygon)) for polygon in bundle.input.mask.polygons] == OVER_THE_SQUARE
    assert yaml.safe_load((masked / "bundle" / "config.yaml").read_text())["input"]["mask"]["image"] is None
    flags = ["--data", str(root / "data"), "--size", "64", "--out", str(root / "plain")]
    assert run(["fit", "pixel_gaussian", *flags]) == 0
    (plain,) = (root / "plain").iterdir()
    assert load(plain).hash != bundle.hash
    assert "mask" not in yaml.safe_load((plain / "bundle" / "config.yaml").read_text())["input"]


def test_what_lies_under_the_mask_changes_no_score(masked):
    bundle = load(masked)
    odd, calm = film(77, anomaly=ANOMALY), film(77)
    indices = range(*ANOMALY)
    assert all((odd[i] != calm[i]).any() for i in indices)
    scores = [score(bundle, [frames[i] for i in indices]) for frames in (odd, calm)]
    np.testing.assert_array_equal(scores[0].score, scores[1].score)
    np.testing.assert_array_equal(scores[0].map, scores[1].map)


def test_whoever_sees_frames_sees_them_painted(root, masked):
    bundle, frames = load(masked), []
    videos = [video(root / "data" / "test" / "odd.mp4", name="odd")]
    list(VideoLoader(videos, bundle.input, batch_size=8, on_frame=frames.append, cache="ram"))
    covered = rasterize_mask(bundle.input.mask, frames[0].image.shape[:2])
    assert len(frames) == 40
    assert not any(frame.image[covered].any() for frame in frames)
    assert all(frame.image[~covered].any() for frame in frames)


def test_the_pictures_of_a_report_are_painted(root, masked):
    config = build(EvaluateConfig, {"data": root / "data", "out": root / "report"}, environment={})
    ((evaluation, _),) = evaluate_all(masked, config)
    units = shown_units(load(masked), evaluation, config, ExtremeImages(None))
    assert units
    for unit in units:
        (frame,) = unit.frames
        assert not frame[rasterize_mask(load(masked).input.mask, frame.shape[:2])].any()


def test_of_pictures_overlays_and_reports_are_painted_too(root, parts, tmp_path):
    flags = ["--data", str(parts), "--size", "64", "--out", str(tmp_path / "runs")]
    assert run(["fit", "pixel_gaussian", *flags, "--privacy-mask", str(root / "square.json")]) == 0
    (run_folder,) = (tmp_path / "runs").iterdir()
    picture = parts / "test" / "spot" / "000.png"
    assert run(["predict", str(run_folder), str(picture), "--overlays", str(tmp_path / "shown")]) == 0
    overlay = np.asarray(Image.open(tmp_path / "shown" / "000.png").convert("RGB"))
    covered = rasterize_mask(load(run_folder).input.mask, overlay.shape[:2])
    assert np.median(overlay[covered]) == 0
    config = build(EvaluateConfig, {"data": parts, "out": tmp_path / "report"}, environment={})
    ((evaluation, _),) = evaluate_all(run_folder, config)
    _, _, extremes = score_dataset(load(run_folder), evaluation.dataset, config)
    units = shown_units(load(run_folder), evaluation, config, extremes)
    assert units
    assert not any(unit.frames[0][covered].any() for unit in units)


def test_predict_says_the_same_with_the_mask_named_again_and_refuses_another(root, masked, capsys):
    video = str(root / "data" / "test" / "odd.mp4")
    outputs = []
    for more in ([], ["--privacy-mask", str(root / "square.json")]):
        capsys.readouterr()
        assert run(["predict", str(masked), video, "--json", *more]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert run(["predict", str(masked), video, "--privacy-mask", str(root / "else.json")]) == 2
    assert "Calibrate with this mask first" in capsys.readouterr().err


def test_a_calibration_with_another_mask_brings_it_along(root, masked, tmp_path):
    bundle = load(masked)
    bundle.save(tmp_path / "bundle")
    flags = ["--normal", str(root / "data" / "test" / "calm.mp4"), "--privacy-mask", str(root / "else.json")]
    assert run(["calibrate", str(tmp_path / "bundle"), *flags]) == 0
    again = load(tmp_path / "bundle")
    assert again.calibration.mask == again.input.mask != bundle.input.mask
    assert again.detector.input.mask == bundle.input.mask
    assert again.calibration.id != bundle.calibration.id
    video = str(root / "data" / "test" / "odd.mp4")
    assert run(["predict", str(tmp_path / "bundle"), video]) == 0
    assert run(["predict", str(tmp_path / "bundle"), video, "--privacy-mask", str(root / "else.json")]) == 0
    assert run(["predict", str(tmp_path / "bundle"), video, "--privacy-mask", str(root / "square.json")]) == 2


def test_a_calibration_from_before_masks_is_read_as_it_was(masked):
    plain = load(masked).calibration.to_json()
    assert "mask" not in plain
    assert type(load(masked).calibration).from_json(plain) == load(masked).calibration


def test_a_mask_that_is_none_is_refused(root, masked, capsys):
    (root / "bad.json").write_text("[[[0, 0], [2, 0], [1, 1]]]")
    flags = ["--data", str(root / "data"), "--out", str(root / "none")]
    assert run(["fit", "pixel_gaussian", *flags, "--privacy-mask", str(root / "bad.json")]) == 2
    assert "relative to width and height" in capsys.readouterr().err
    assert run(["evaluate", str(masked), "--data", str(root / "data"), "--privacy-mask", str(root / "no.png")]) == 2
    assert "no such file" in capsys.readouterr().err
