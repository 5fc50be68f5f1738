import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.detectors.ganomaly import Ganomaly
from tests.detectors.ganomaly.reference import recipe


@pytest.fixture
def published(tmp_path):
    """netG.pth and netD.pth as the published code saves them, and the detector that they are of."""
    detector = Ganomaly.create(32, 3, 9, 4, 1)
    detector.load_reference_state_dict(recipe(detector.generator, 3, 0), recipe(detector.discriminator, 3, 500))
    folder = tmp_path / "published weights"
    folder.mkdir()
    torch.save({"epoch": 15, "state_dict": detector.generator.state_dict()}, folder / "netG.pth")
    torch.save({"epoch": 15, "state_dict": detector.discriminator.state_dict()}, folder / "netD.pth")
    return folder, detector.eval()


def imported(capsys, *arguments):
    assert run(["import", "ganomaly", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_bundle_scores_as_the_published_weights_do(published, tmp_path, capsys):
    folder, original = published
    output = imported(
        capsys, "--weights", folder / "netD.pth", "--weights", folder / "netG.pth", "--out", tmp_path / "runs"
    )
    bundle = load(output["bundle"])
    options = bundle.detector.options
    assert (options.channels, options.latent, options.width, options.extra_layers) == (3, 9, 4, 1)
    assert (bundle.detector.input.size, bundle.detector.input.resize.short_side) == ((32, 32), 32)
    assert set(bundle.card["imported"]) == {"netG.pth", "netD.pth"}
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(bundle.detector(x).score, original(x).score)
    theirs = original.discriminator.state_dict()
    assert all(torch.equal(v, theirs[name]) for name, v in bundle.detector.discriminator.state_dict().items())


def test_netg_alone_will_do_and_scoring_is_chosen(published, tmp_path, capsys):
    folder, original = published
    save_file({k: v.contiguous() for k, v in original.generator.state_dict().items()}, folder / "netG.safetensors")
    more = ("--distance", "l1", "--score", "contextual")
    output = imported(capsys, "--weights", folder / "netG.safetensors", "--out", tmp_path / "runs", *more)
    options = load(output["bundle"]).detector.options
    assert (options.distance, options.score) == ("l1", "contextual")


def test_a_new_user_goes_on_to_calibrate_and_predict(published, tmp_path, capsys):
    folder, _ = published
    assert run(["import", "ganomaly", "--weights", str(folder / "netG.pth"), "--out", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "32x32 px, color" in out
    assert "threshold  none: scores have no verdicts" in out
    bundle = out.split("calibrate ")[1].split(" --normal")[0]
    (tmp_path / "good").mkdir()
    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 255, (40, 48, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "good" / f"{i}.png")
    assert run(["calibrate", bundle, "--normal", str(tmp_path / "good")]) == 0
    assert run(["predict", bundle, str(tmp_path / "good" / "1.png")]) == 0
    assert "p-value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ((), (), "--weights FILE"),
        (("netD.pth",), (), "expected netG.pth"),
        (("netG.pth", "netG.pth"), (), "expected netG.pth"),
        (("no.pth",), (), "no such file"),
        (("netG.pth",), ("--width", "8"), "width=8: the weights have 4"),
        (("netG.pth",), ("--widht", "8"), "widht"),
    ],
)
def test_wrong_use_is_explained(published, tmp_path, capsys, files, more, message):
    folder, _ = published
    flags = [word for name in files for word in ("--weights", str(folder / name))]
    assert run(["import", "ganomaly", *flags, *more, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_pickled_module_is_refused_with_lines_that_convert_it(published, tmp_path, capsys):
    folder, original = published
    torch.save(original.generator, folder / "whole.pth")
    arguments = ["--out", str(tmp_path / "runs")]
    assert run(["import", "ganomaly", "--weights", str(folder / "whole.pth"), *arguments]) == 2
    message = capsys.readouterr().err
    recipe_lines = "\n".join(line.strip() for line in message.splitlines() if line.startswith("    "))
    exec(recipe_lines, {})
    assert run(["import", "ganomaly", "--weights", str(folder / "whole_tensors.pth"), *arguments]) == 0
