"""GANomaly as a new user tries it, on a folder in the published layout and on digits."""

import json
from pathlib import Path

import pytest

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.testing.scenes import write_parts
from tests.data.idx_files import write_digits

QUICK = ["--width", "4", "--latent", "6", "--steps", "20", "--batch-size", "8"]


def fitted(capsys, tmp_path, *arguments):
    assert run(["fit", "ganomaly", *map(str, arguments), *QUICK, "--out", str(tmp_path / "runs"), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_folder_in_the_published_layout(tmp_path, capsys):
    parts = write_parts(tmp_path / "parts", train=12, good=3, bad=3)
    data = tmp_path / "x rays"
    for folder, name in (
        ("train/good", "train/0.normal"),
        ("test/good", "test/0.normal"),
        ("test/spot", "test/1.abnormal"),
    ):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (parts / folder).rename(data / name)
    fit = fitted(capsys, tmp_path, "--data", data, "--size", 32)
    spec = load(fit["bundle"]).detector.input
    assert (spec.size, spec.channels, spec.resize.policy) == ((32, 32), 3, "stretch")
    assert run(["evaluate", fit["bundle"], "--data", str(data), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert set(evaluation["metrics"]) == {"image_AUROC", "image_AP", "image_F1"}
    assert "reconstruction" in (Path(evaluation["run"]) / "report.html").read_text(encoding="utf-8")
    assert run(["predict", fit["bundle"], str(data / "test"), "--overlays", str(tmp_path / "drawn")]) == 0
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 6


def test_digits_in_gray_at_the_least_size_that_shrinks_nothing(tmp_path, capsys):
    data = write_digits(tmp_path / "digits", subsets=("train", "t10k"), per_class=10)
    fit = fitted(capsys, tmp_path, "--data", data, "--normal-class", 3, "--channels", 1)
    spec = load(fit["bundle"]).detector.input
    assert (spec.size, spec.channels) == ((16, 16), 1)  # digits of 12 x 12
    assert run(["evaluate", fit["bundle"], "--data", str(data), "--normal-class", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["category"] == "3"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size", "48"], "use --size 32"),
        (["--size", "32x64"], "a side of 16, 32, 64, 128"),
        (["--channels", "2"], "channels"),
        (["--normal-class", "3"], "has no classes"),
    ],
)
def test_what_cannot_be_is_refused(parts, tmp_path, capsys, more, message):
    assert run(["fit", "ganomaly", "--data", str(parts), *more, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_fit_that_is_gone_on_with_ends_as_an_unbroken_one(parts, tmp_path, capsys):
    flags = ("--data", parts, "--size", 16)
    whole = fitted(capsys, tmp_path, *flags)
    begun = fitted(capsys, tmp_path, *flags, "--max-time", "1ms")
    assert begun["hash"] != whole["hash"]
    assert run(["fit", "ganomaly", "--resume", begun["run"], "--max-time", "1h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == whole["hash"]
