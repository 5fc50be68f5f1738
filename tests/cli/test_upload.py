"""offnormal upload."""

from __future__ import annotations

import json

import pytest

from offnormal.cli.main import run


@pytest.fixture
def runs(tmp_path):
    parent = tmp_path / "runs/20261121-105426-padim-both"
    for name in ("nut", "screw"):
        (parent / name).mkdir(parents=True)
        (parent / name / "log.jsonl").write_text("{}\n")
        (parent / name / "config.yaml").write_text("{}\n")
    return parent


def test_the_run_of_each_category_is_uploaded_and_its_address_is_stored(runs, tmp_path, capsys):
    assert run(["upload", str(runs), f"file://{tmp_path}/store"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{runs / name}: 2 files uploaded to file://{tmp_path}/store/{runs.name}/{name}" for name in ("nut", "screw")
    ]
    (runs / "nut/metrics.json").write_text("{}")
    assert run(["upload", str(runs / "nut"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 1
    assert (tmp_path / "store" / runs.name / "nut/metrics.json").is_file()


def test_wrong_use_says_what_to_do(runs, tmp_path, capsys):
    assert run(["upload", str(runs)]) == 2
    assert "add a URL such as s3://bucket/prefix" in capsys.readouterr().err
    assert run(["upload", str(tmp_path), "file:///x"]) == 2
    assert "expected a folder with log.jsonl" in capsys.readouterr().err
