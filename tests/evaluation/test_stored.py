import doctest
import json
import shutil

import pytest

from offnormal.errors import DataError, UsageError
from offnormal.evaluation import stored
from offnormal.evaluation.stored import read_evaluation
from offnormal.types import Unit
from tests.evaluations import image_run, video_run


def edit_metrics(folder, **changes):
    file = folder / "metrics.json"
    values = json.loads(file.read_text())
    values["data"] |= changes.pop("data", {})
    file.write_text(json.dumps(values | changes))
    return folder


def test_doctests():
    assert doctest.testmod(stored).failed == 0


def test_a_written_evaluation_is_read_back(tmp_path):
    run = read_evaluation(video_run(tmp_path / "v", eps=0.5))
    assert (run.table.unit, run.data, run.detector, run.rate) == (Unit.FRAME, "street", "padim", "2 % of frames")
    assert run.options == {"eps": "0.5", "input.size": "256, 320"}
    assert run.seconds_per_unit == pytest.approx(0.01) and run.threshold > 0
    assert run.low_threshold == run.threshold  # this run was evaluated without hysteresis
    assert run.bundle_bytes == sum(f.stat().st_size for f in (tmp_path / "v" / "bundle").iterdir())
    images = read_evaluation(image_run(tmp_path / "i"))
    assert (images.table.unit, images.detector, images.bundle_bytes) == (Unit.IMAGE, None, None)
    assert images.metrics["pixel_AUROC"] == 0.9712 and images.low_threshold is None


def test_an_evaluation_finds_its_bundle_in_a_sibling_run(tmp_path):
    whole = video_run(tmp_path / "whole", motion=True)
    apart = shutil.copytree(whole, tmp_path / "apart", ignore=shutil.ignore_patterns("bundle"))
    assert read_evaluation(apart).options == read_evaluation(whole).options
    assert read_evaluation(edit_metrics(apart, bundle="another")).detector is None


def test_without_a_bundle_the_configuration_of_the_run_is_read(tmp_path):
    folder = image_run(tmp_path / "r")
    (folder / "config.yaml").write_text("size: 64\ndetector: {name: padim, layers: [a, b]}\n")
    assert read_evaluation(folder).detector == "padim" and read_evaluation(folder).options == {"layers": "a, b"}
    (folder / "config.yaml").write_text("detector: {")
    with pytest.raises(DataError, match=r"config\.yaml"):
        read_evaluation(folder)


def test_a_folder_without_an_evaluation_is_refused_with_the_command_to_run(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_evaluation(tmp_path / "none")
    folder = video_run(tmp_path / "v")
    (folder / "scores.csv").unlink()
    with pytest.raises(UsageError, match=r"no scores.csv; run offnormal evaluate .*v --data DIR first"):
        read_evaluation(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="run offnormal evaluate first"):
        read_evaluation(empty)
    (empty / "scores.csv").write_text("")
    (empty / "metrics.json").write_text('{"categories": {"bottle": {}, "cable": {}}}')
    with pytest.raises(UsageError, match="bottle, cable"):
        read_evaluation(empty)


def test_errors_name_damaged_files(tmp_path):
    folder = video_run(tmp_path / "v")
    text = (folder / "metrics.json").read_text()
    unit = json.dumps({**json.loads(text), "unit": "photos"})
    for broken, message in (
        (text[:50], "line 1: not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "fingerprint"),
        (unit, "unit 'photos'; expected image, frame, clip"),
    ):
        (folder / "metrics.json").write_text(broken)
        with pytest.raises(DataError, match=message):
            read_evaluation(folder)
    (folder / "metrics.json").write_text(text)
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(lines[:-7]))
    with pytest.raises(DataError, match=r"473 rows; expected 480"):
        read_evaluation(folder)


def test_restarts_of_a_clock_are_read_back(tmp_path):
    folder = video_run(tmp_path / "v", videos=2, frames=10)
    edit_metrics(folder, data={"restarts": {"01.mp4": [4]}})
    assert [item.restarts for item in read_evaluation(folder).table.items] == [(), (4,)]
