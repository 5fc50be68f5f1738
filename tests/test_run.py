import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from offnormal import run as run_module
from offnormal.config.fit import FitConfig
from offnormal.config.layers import build
from offnormal.errors import OffnormalError
from offnormal.run import Run, new_run, read_config


def lines(run):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (run.path / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def same_second(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(run_module, "datetime", Clock)


def test_runs_of_the_same_second_have_separate_folders(tmp_path, same_second):
    paths = [new_run(tmp_path / "runs", "padim", "bottle").path for _ in range(3)]
    assert [path.name for path in paths] == [f"20260102-030405-padim-bottle{ending}" for ending in ("", "-2", "-3")]
    assert all(path.is_dir() for path in paths)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("bottle", "bottle"),
        ("Prüfling 7/8", "Prüfling_7_8"),
        ("a-b:c*?", "a_b_c"),
        ("..", "data"),
        ("", "data"),
        ("v1.2", "v1.2"),
        (".hidden.", "hidden"),
        ("x" * 300, "x" * 60),
    ],
)
def test_names_become_valid_folder_names(tmp_path, same_second, name, plain):
    assert new_run(tmp_path, "padim", name).path == tmp_path / f"20260102-030405-padim-{plain}"


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OffnormalError, match=r"cannot be created \(.*--out"):
        new_run(tmp_path / "file", "padim")


def test_the_log_has_one_line_of_strict_json_per_event(tmp_path):
    run = Run(tmp_path)
    run.log("start", data="Prüfling\nzwei", path=Path("a/b"), images=3, none=None, done=True)
    run.log(
        "metrics",
        nan=float("nan"),
        infinite=np.float32("inf"),
        half=np.float32(0.5),
        count=np.int64(7),
        yes=np.bool_(True),
        nested={"a": [float("nan"), (1, np.float64(2))], 3: Path("x")},
    )
    first, second = lines(run)
    assert {key: first[key] for key in ("event", "data", "images", "none", "done")} == {
        "event": "start",
        "data": "Prüfling\nzwei",
        "images": 3,
        "none": None,
        "done": True,
    }
    assert first["path"] == str(Path("a/b"))
    assert datetime.fromisoformat(first["time"]).tzinfo == UTC
    assert {key: value for key, value in second.items() if key not in ("time", "event")} == {
        "nan": None,
        "infinite": None,
        "half": 0.5,
        "count": 7,
        "yes": True,
        "nested": {"a": [None, [1, 2]], "3": "x"},
    }


def test_names_that_are_not_unicode_can_be_logged(tmp_path):
    name = os.fsdecode(b"l\xe4ufer.png")
    run = Run(tmp_path)
    run.log("skipped", path=name)
    assert lines(run)[0]["path"] == name


def test_lines_of_several_threads_are_not_mixed(tmp_path):
    run = Run(tmp_path)
    threads = [threading.Thread(target=lambda: [run.log("x", text="y" * 5000) for _ in range(20)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(run)) == 100


def test_a_log_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OffnormalError, match=r"log\.jsonl: cannot be written \("):
        Run(tmp_path / "gone").log("x")


def test_the_configuration_is_yaml_in_its_order(tmp_path):
    values = {"detector": {"name": "padim", "layers": None}, "data": "Prüflinge/ä b", "size": "256x320"}
    Run(tmp_path).write_config(values)
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == values
    assert list(yaml.safe_load(text)) == list(values)
    assert "Prüflinge/ä b" in text


@pytest.mark.parametrize("text", ["${LOT}", "$${LOT}", "a ${LOT} b $5 ${}"])
def test_a_configuration_is_read_as_it_was(tmp_path, text):
    Run(tmp_path).write_config({"category": text})
    assert build(FitConfig, {}, file=tmp_path / "config.yaml", environment={}).category == text
    assert read_config(tmp_path / "config.yaml") == {"category": text}


def test_a_run_without_a_bundle_is_an_error(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(OffnormalError, match="has no bundle"):
        _ = run.bundle
    marker = object()
    run.bundle = marker
    assert run.bundle is marker
