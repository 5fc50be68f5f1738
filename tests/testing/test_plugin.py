"""The example plug-in, installed like any package, and used from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offnormal.testing.scenes import draw_part, write_scenes

EXAMPLE = Path(__file__).parents[2] / "examples/plugin"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Run `python -m` on a module in a new folder, with the plug-in installed."""
    folder = tmp_path_factory.mktemp("plug-in")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(EXAMPLE)], check=True)
    path = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*words, expected=0):
        command = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def lots(tmp_path_factory):
    """Two lots, each with 20 normal images and 4 images with a spot."""
    root, rng = tmp_path_factory.mktemp("station"), np.random.default_rng(0)
    for lot in ("lot-1", "lot-2"):
        for folder, number in (("ok", 20), ("ng", 4)):
            (root / lot / folder).mkdir(parents=True)
            for i in range(number):
                image, _ = draw_part(rng, defect=folder == "ng", shift=0)
                Image.fromarray(image).save(root / lot / folder / f"{i}.png")
    return root


def test_all_three_are_listed(program):
    for kind, name in (("detectors", "color_grid"), ("layouts", "lots"), ("sinks", "logbook")):
        assert f"{name:<20} plug-in of offnormal-example 0.1.0" in program("offnormal", "list", kind)
    assert "--cells" in program("offnormal", "fit", "color_grid", "--help")


def test_the_detector_fits_the_layout_and_detects_the_spots(program, lots):
    fit = json.loads(program("offnormal", "fit", "color_grid", "--data", lots, "--cells", 8, "--json"))
    assert fit["data"]["images"] == 20
    evaluation = json.loads(program("offnormal", "evaluate", fit["run"], "--data", lots, "--json"))
    assert evaluation["metrics"]["image_AUROC"] == 1


def test_the_sink_receives_the_events_of_a_watch(program, tmp_path):
    data = write_scenes(tmp_path / "scenes", frames=30, shift=0)
    fit = json.loads(program("offnormal", "fit", "color_grid", "--data", data, "--out", tmp_path / "runs", "--json"))
    book = tmp_path / "logbook.txt"
    words = ("--sink", f"logbook:{book}", "--out", tmp_path / "out")
    program("offnormal", "watch", fit["bundle"], data / "test/odd.mp4", *words)
    (line,) = book.read_text().splitlines()
    assert " odd anomaly " in line


def test_the_tests_of_the_plugin_pass(program):
    assert "3 passed" in program("pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")
