import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.config.score import PredictConfig
from offnormal.detectors.mnad import MNAD
from offnormal.scoring import Scorer
from offnormal.verbs.predict import Predictor
from tests.detectors.mnad.reference import reference_state
from tests.items import video


@pytest.fixture(scope="module")
def published(tmp_path_factory, request):
    """Weights and items of the golden evaluation as files, and its videos as folders of frames."""
    stored = request.getfixturevalue("golden")("mnad_evaluate_pred")
    folder = tmp_path_factory.mktemp("published weights")
    torch.save(reference_state("pred", int(stored["seed"])), folder / "model.pth")
    items = torch.from_numpy(stored["keys_in"])
    torch.save(items, folder / "keys.pt")
    np.save(folder / "keys.npy", stored["keys_in"])
    save_file({"items": items}, folder / "keys.safetensors")
    for name in ("01", "02", "03"):
        (folder / "frames" / name).mkdir(parents=True)
        for number, frame in enumerate(stored[f"frames__{name}"]):
            Image.fromarray(frame[..., ::-1]).save(folder / "frames" / name / f"{number:04}.png")  # golden is BGR
    return folder, stored


def imported(capsys, *arguments):
    assert run(["import", "mnad", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_frames_on_disk_get_the_references_terms_learning_on_from_video_to_video(published, tmp_path, capsys):
    folder, stored = published
    threshold = str(float(stored["update__th_f64"]))
    more = (
        "--size",
        "32x48",
        "--online-update",
        "--update-threshold",
        threshold,
        "--carry-over",
        "--out",
        tmp_path / "runs",
    )
    output = imported(capsys, "--weights", folder / "model.pth", "--items", folder / "keys.pt", *more)
    predictor = Predictor(load(output["bundle"]), PredictConfig(fps=25))
    numbers = ("01", "02", "03")
    predictions = predictor.over([video(folder / "frames" / number) for number in numbers])
    for number, prediction in zip(numbers, predictions, strict=True):
        table = prediction.table
        for name, golden in (("psnr", "psnr"), ("feature_distance", "featdist")):
            expected = stored[f"update__{number}__{golden}_f64"]
            np.testing.assert_allclose(table.terms[name][4:], expected, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(table.score[4:], -0.6 * table.terms["psnr"][4:], rtol=1e-4)


@pytest.mark.parametrize("items", ["keys.pt", "keys.npy", "keys.safetensors"])
def test_the_bundle_holds_weights_and_items(published, tmp_path, capsys, items):
    folder, stored = published
    output = imported(capsys, "--weights", folder / "model.pth", "--items", folder / items, "--out", tmp_path)
    bundle = load(output["bundle"])
    assert set(bundle.card["imported"]) == {"model.pth", items}
    assert bundle.detector.input.size == (256, 256)
    np.testing.assert_array_equal(bundle.detector.items.numpy(), stored["keys_in"])
    clip = torch.rand(1, 3, 5, 256, 256)
    expected = MNAD.create(color_order="bgr")
    expected.load_reference_state_dict(reference_state("pred", int(stored["seed"])), bundle.detector.items)
    np.testing.assert_array_equal(Scorer(expected).score(clip).score, Scorer(bundle.detector).score(clip).score)


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ((), (), "--weights FILE"),
        (("model.pth",), (), "memory items (--items keys.pt)"),
        (("model.pth",), ("--items", "no.pt"), "no such file"),
        (("model.pth", "keys.pt"), ("--width", "8"), "width=8: the weights have 64"),
        (("model.pth", "keys.pt"), ("--size", "100"), "multiples of 8"),
    ],
)
def test_wrong_use_is_explained(published, tmp_path, capsys, files, more, message):
    folder, _ = published
    flags = [word for name in files for word in ("--weights", str(folder / name))]
    assert run(["import", "mnad", *flags, *more, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err


def test_a_pickled_module_is_refused_with_lines_that_convert_it(tmp_path, capsys):
    detector = MNAD.create("recon", width=2)
    torch.save(detector.net, tmp_path / "model.pth")
    command = ["import", "mnad", "--items", str(tmp_path / "keys.pt"), "--out", str(tmp_path / "runs"), "--size", "32"]
    torch.save(detector.items, tmp_path / "keys.pt")
    assert run([*command, "--weights", str(tmp_path / "model.pth")]) == 2
    message = capsys.readouterr().err
    exec("\n".join(line.strip() for line in message.splitlines() if line.startswith("    ")), {})
    assert run([*command, "--weights", str(tmp_path / "model_tensors.pth")]) == 0
