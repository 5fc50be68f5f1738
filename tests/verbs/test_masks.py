"""evaluate: masks that lose regions, mark nothing, or have other sizes; missing pixel metrics have a reason."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from offnormal import api
from offnormal.cli.main import run
from offnormal.evaluation.evaluate import _missing_pixel_metrics
from offnormal.metrics.accumulate import PixelScores

SIDE = 64
SCRATCHES = (7, 27, 47)  # rows, of 4 pixels an input row


def draw(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Flat plates, some with scratches; masks with the scratches at their rows."""
    root, rng = tmp_path_factory.mktemp("plates"), np.random.default_rng(0)
    for number in range(12):
        draw(root / f"train/good/{number}.png", rng.normal(120, 3, (SIDE, SIDE)).clip(0, 255))
    for number in range(6):
        plate = rng.normal(120, 3, (SIDE, SIDE)).clip(0, 255)
        draw(root / f"test/good/{number}.png", plate)
        mask = np.zeros((SIDE, SIDE))
        for row in SCRATCHES:
            mask[row, 8:56] = 255
        draw(root / f"test/scratch/{number}.png", np.where(mask, 250, plate))
        draw(root / f"ground_truth/scratch/{number}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def bundle(plates, tmp_path_factory):
    return api.fit("pixel_gaussian", plates, size=16, sigma=0, out=tmp_path_factory.mktemp("runs")).bundle


@pytest.mark.parametrize("name", ["test/good/0.png", "ground_truth/scratch/0_mask.png", "evaluate.yaml"])
def test_an_output_never_replaces_an_image_a_mask_or_the_configuration(plates, bundle, tmp_path, capsys, name):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(plates, data)
    (data / "evaluate.yaml").write_text("device: cpu\n")
    out.mkdir()
    (out / "scores.csv").symlink_to(data / name)
    before = (data / name).read_bytes()
    arguments = ["--data", str(data), "--layout", "mvtec", "--out", str(out), "--config", str(data / "evaluate.yaml")]
    assert run(["evaluate", str(bundle.path), *arguments]) == 2
    assert f"scores.csv would overwrite the input {data / name}" in " ".join(capsys.readouterr().err.split())
    assert (data / name).read_bytes() == before


@pytest.fixture
def evaluate(plates, bundle, tmp_path, capsys):
    """Evaluate after a change of the masks: `evaluate(change)` -> metrics.json, printed lines, and the report."""

    def evaluated(change):
        data = tmp_path / "data"
        shutil.copytree(plates, data)
        for number, path in enumerate(sorted((data / "ground_truth" / "scratch").iterdir())):
            change(number, path, np.asarray(Image.open(path)))
        assert run(["evaluate", str(bundle.path), "--data", str(data), "--out", str(tmp_path / "out")]) == 0
        printed, out = capsys.readouterr(), tmp_path / "out"
        text = " ".join((printed.out + printed.err).split())
        return json.loads((out / "metrics.json").read_text()), text, (out / "report.html").read_text()

    return evaluated


@pytest.mark.parametrize("shift", [0, -1, 1])
def test_the_row_of_a_scratch_does_not_decide_whether_it_counts(evaluate, shift):
    values, _, _ = evaluate(lambda number, path, mask: draw(path, np.roll(mask, shift, axis=0)))
    assert values["pixel"]["regions"] == 6 * len(SCRATCHES)
    assert values["metrics"].keys() >= {"pixel_AUROC", "pixel_AUPRO", "pixel_F1"}
    if (7 + shift) // 4 == 1:
        assert values["metrics"]["pixel_AUROC"] > 0.99
    assert values["notes"] == []


def test_one_empty_mask_of_six_is_named(evaluate):
    values, text, report = evaluate(lambda number, path, mask: draw(path, mask * (number != 3)))
    (note,) = values["notes"]
    assert note.startswith("1 of 6 masks marks no pixel, though its image is anomalous: ") and "3_mask.png" in note
    assert "offnormal: 1 of 6 masks marks no pixel" in text and "1 of 6 masks marks no pixel" in report
    assert "pixel_AUROC" in values["metrics"]


def test_masks_that_mark_nothing_leave_a_reason(evaluate):
    values, text, report = evaluate(lambda number, path, mask: draw(path, mask * 0))
    assert values["missing"]["pixel metrics"] == "the masks mark no pixel"
    assert "pixel metrics not computed: the masks mark no pixel" in text and "the masks mark no pixel" in report
    assert not any(name.startswith("pixel") for name in values["metrics"])
    assert values["notes"][0].startswith("6 of 6 masks mark no pixel")


def test_black_on_white_is_a_warning_and_no_silent_turn(evaluate):
    values, text, _ = evaluate(lambda number, path, mask: draw(path, 255 - mask))
    assert "6 of 6 masks mark more than half of the pixels, and the border, as if the anomalies were black" in text
    assert values["metrics"]["pixel_AUROC"] < 0.9


def test_a_smaller_mask_is_scaled_and_said(evaluate):
    def halve(number, path, mask):
        draw(path, mask.reshape(SIDE // 2, 2, SIDE // 2, 2).max((1, 3)))

    values, text, _ = evaluate(halve)
    assert "6 of 6 masks have other sizes, and were scaled" in text and "from 32x32 to 64x64" in text
    assert values["metrics"]["pixel_AUROC"] > 0.98 and values["pixel"]["regions"] == 6 * len(SCRATCHES)


def test_a_detector_without_a_map_leaves_a_reason():
    scores = PixelScores()
    assert _missing_pixel_metrics(scores.compute()) == {"pixel metrics": "the detector has no anomaly map"}
    scores.update(np.ones((1, 2, 2)), np.zeros((1, 2, 2)))
    assert _missing_pixel_metrics(scores.compute()) == {"pixel metrics": "the masks mark every pixel"}
    assert _missing_pixel_metrics(None) == {}
