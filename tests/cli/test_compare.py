from __future__ import annotations

import json
import subprocess
import sys

import pytest

import offnormal as on
from offnormal.cli.main import run
from tests.evaluations import video_run


@pytest.fixture
def folders(tmp_path):
    return [video_run(tmp_path / "täglich 1"), video_run(tmp_path / "b", seed=1, power=4.0, detector="pixel_gaussian")]


def test_one_aligned_table_on_stdout(folders, tmp_path, capsys):
    assert run(["compare", *map(str, folders), "--combine", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "street: 480 frames that every run scored"
    assert lines[1] == "A  täglich 1 (padim): 480 frames scored, 0 excluded"
    (micro,) = [line for line in lines if line.split()[:1] == ["frame_AUC_micro"]]
    (head,) = [line for line in lines if line.split() == ["A", "B", "+"]]
    runs = json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"]
    for row in runs:
        text = f"{row['metrics']['frame_AUC_micro']:.4f}"
        assert micro.index(text) + len(text) == head.index(row["letter"]) + 1, "figures end below their letter"
    assert lines[-1].endswith("report.html") and max(map(len, lines[:40])) < 300


def test_options_that_differ_are_listed(tmp_path, capsys):
    runs = [video_run(tmp_path / name, grid_stride=stride) for name, stride in (("a", 16), ("b", 8))]
    assert run(["compare", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("Different options")
    assert lines[start + 1].split() == ["grid_stride", "A", "16;", "B", "8"]


def test_json_is_one_object(folders, tmp_path, capsys):
    assert run(["compare", *map(str, folders), "--json", "--out", str(tmp_path / "out")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert [row["letter"] for row in json.loads(line)["runs"]] == ["A", "B"]


@pytest.mark.parametrize(("extra", "message"), [([], "at least two"), (["/no/such"], "no such folder")])
def test_wrong_use_is_one_line_and_two(folders, extra, message, capsys):
    assert run(["compare", str(folders[0]), *extra]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_python_says_the_same_words(folders, tmp_path):
    comparison = on.compare(*folders, out=tmp_path / "out", combine=True)
    assert [row.letter for row in comparison.rows] == ["A", "B", "+"] and (tmp_path / "out" / "report.html").is_file()


def test_no_torch_is_loaded(folders, tmp_path):
    arguments = ["compare", *map(str, folders), "--out", str(tmp_path / "out")]
    code = (
        f"import sys; from offnormal.cli.main import run; assert run({arguments!r}) == 0;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
