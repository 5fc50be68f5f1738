import json

import numpy as np
import pytest
import torch

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.config.score import BenchmarkConfig
from offnormal.errors import OffnormalError
from offnormal.verbs import benchmark
from offnormal.verbs.benchmark import benchmark_bundle

QUICK = ["--rounds", "1", "--images", "6"]


def test_everything_is_measured_and_ratios_are_of_costs_an_image(fitted, parts, capsys):
    assert run(["benchmark", str(fitted), "--data", str(parts / "test"), "--json", *QUICK]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["input"] == [64, 64]
    assert [row["batch"] for row in output["latencies"]] == [1, 16]
    assert [row["batch"] for row in output["reference"]] == [1, 32]
    for row in output["latencies"] + output["reference"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"]
    size = sum(file.stat().st_size for file in (fitted / "bundle").iterdir()) / 1e6
    assert output["bundle_mb"] == pytest.approx(size)
    assert 100 < output["peak_memory_mb"] < 20_000
    assert output["start_up_s"] > 0
    assert output["images_per_s"] > 0
    assert 0 <= output["waiting_share"] <= 1


def test_the_text_holds_the_figures(fitted, capsys):
    assert run(["benchmark", str(fitted), *QUICK]) == 0
    out = capsys.readouterr().out
    for word in ("images/s", "batch 16", "backbone alone, batch 32", "ratio", "startup"):
        assert word in out


def test_ratios_are_medians_over_rounds_of_cost_an_image():
    ours = {1: [np.array([1.0]), np.array([3.0]), np.array([2.0])], 16: [np.array([16.0])] * 3}
    other = {1: [np.array([1.0])] * 3, 32: [np.array([64.0])] * 3}
    ratios = benchmark._ratios(ours, other)
    assert ratios["batch 16 / reference at 32"] == pytest.approx(0.5)
    assert ratios["batch 1 / reference at 1"] == pytest.approx(2)
    assert benchmark._ratios(ours, {}) == {}


def test_the_reference_is_the_same_network_with_the_same_weights_in_its_own_form(fitted):
    detector = load(fitted).detector
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = detector.backbone(x)
        actual = detector.reference()(detector.backbone.normalize(x))
    for level, other in zip(expected.values(), actual, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4)
    weight = detector.reference().model.conv_stem.weight
    assert weight.is_contiguous()


def test_the_number_of_threads_is_taken(fitted):
    before = torch.get_num_threads()
    try:
        result = benchmark_bundle(load(fitted), BenchmarkConfig(rounds=1, images=2, threads=1))
        assert result.threads == 1
    finally:
        torch.set_num_threads(before)


def test_a_bundle_that_is_not_saved_and_pictures_that_are_not_there(fitted, tmp_path, capsys):
    bundle = load(fitted)
    bundle.path = None
    with pytest.raises(OffnormalError, match="saved"):
        benchmark_bundle(bundle, BenchmarkConfig())
    assert run(["benchmark", str(fitted), "--data", str(tmp_path), *QUICK]) == 2
    assert "no image; expected" in capsys.readouterr().err


@pytest.mark.parametrize("whole", [True, False])
def test_videos_are_read_as_they_are(fitted, tmp_path, capsys, whole):
    from tests.footage import film
    from tests.video_files import write_video

    path = write_video(tmp_path / "a.mp4", film(0, frames=30))
    assert run(["benchmark", str(fitted), "--data", str(tmp_path if whole else path), "--json", *QUICK]) == 0
    assert json.loads(capsys.readouterr().out)["images_per_s"] > 0
