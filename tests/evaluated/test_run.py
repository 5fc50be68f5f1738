from __future__ import annotations

import doctest
import json
import shutil

import pytest
from offnormal.evaluated import run as module
from offnormal.evaluated.run import read_run

from offnormal.errors import DataError, UsageError
from tests.evaluations import image_run, video_run


def edited(folder, **changes):
    file = folder / "metrics.json"
    values = json.loads(file.read_text())
    values["data"] |= changes.pop("data", {})
    file.write_text(json.dumps(values | changes))
    return folder


def test_doctests():
    assert doctest.testmod(module).failed == 0


def test_what_an_evaluation_wrote_is_read_again(tmp_path):
    found = read_run(video_run(tmp_path / "v", eps=0.5))
    assert (found.kind, found.data, found.detector, found.rate) == ("videos", "street", "padim", "2 % of frames")
    assert found.options == {"eps": "0.5", "input.size": "256, 320"}
    assert found.seconds_per_frame == 0.01 and found.threshold > 0
    assert found.bundle_bytes == sum(f.stat().st_size for f in (tmp_path / "v" / "bundle").iterdir())
    pictures = read_run(image_run(tmp_path / "i"))
    assert (pictures.kind, pictures.detector, pictures.bundle_bytes) == ("images", None, None)
    assert pictures.metrics["pixel_AUROC"] == 0.9712


def test_an_evaluation_apart_finds_its_bundle_in_a_run_beside_it(tmp_path):
    whole = video_run(tmp_path / "whole", motion=True)
    apart = shutil.copytree(whole, tmp_path / "apart", ignore=shutil.ignore_patterns("bundle"))
    assert read_run(apart).options == read_run(whole).options
    assert read_run(edited(apart, bundle="another")).detector is None


def test_the_run_s_configuration_serves_where_there_is_no_bundle(tmp_path):
    folder = image_run(tmp_path / "r")
    (folder / "config.yaml").write_text("size: 64\ndetector: {name: padim, layers: [a, b]}\n")
    assert read_run(folder).detector == "padim" and read_run(folder).options == {"layers": "a, b"}
    (folder / "config.yaml").write_text("detector: {")
    with pytest.raises(DataError, match=r"config\.yaml"):
        read_run(folder)


def test_a_folder_without_an_evaluation_says_what_to_run(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_run(tmp_path / "none")
    folder = video_run(tmp_path / "v")
    (folder / "scores.csv").unlink()
    with pytest.raises(UsageError, match=r"has no scores.csv; run offnormal evaluate .*v --data DIR first"):
        read_run(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="run offnormal evaluate first"):
        read_run(empty)
    (empty / "scores.csv").write_text("")
    (empty / "metrics.json").write_text('{"categories": {"bottle": {}, "cable": {}}}')
    with pytest.raises(UsageError, match="bottle, cable"):
        read_run(empty)


def test_damaged_files_are_named(tmp_path):
    folder = video_run(tmp_path / "v")
    text = (folder / "metrics.json").read_text()
    for broken, said in ((text[:50], "line 1: not JSON"), ("[]", "expected an object"), ("{}", "fingerprint")):
        (folder / "metrics.json").write_text(broken)
        with pytest.raises(DataError, match=said):
            read_run(folder)
    (folder / "metrics.json").write_text(text)
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(lines[:-7]))
    with pytest.raises(DataError, match=r"473 rows where metrics.json speaks of 480 frames"):
        read_run(folder)
