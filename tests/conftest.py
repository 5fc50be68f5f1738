"""Paths to golden vectors and real data, small datasets, and one small fitted bundle for the whole session."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from offnormal import registry
from offnormal.testing.scenes import write_parts

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")

GOLDEN = Path(__file__).parent / "golden"
_POINTS = """[offnormal.detectors]
plain = tests.training.tiny:Plain
pair = tests.training.tiny:Pair
moves = tests.training.tiny_clips:Moves
"""


@pytest.fixture(scope="session")
def golden():
    """Load the arrays of a golden file by its name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as stored:
            return dict(stored)

    return load


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real datasets, or a skip that says how to give it."""
    folder = os.environ.get("OFFNORMAL_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("OFFNORMAL_TEST_DATA does not name a folder with the real datasets")
    return Path(folder)


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> Path:
    """A small MVTec-style dataset; do not change it."""
    return write_parts(tmp_path_factory.mktemp("sets") / "parts")


@pytest.fixture(scope="session")
def fitted(parts, tmp_path_factory) -> Path:
    """Run folder of PaDiM fitted on `parts`; do not change it."""
    from offnormal.config.layers import build
    from offnormal.verbs.fit import fit_config, fit_run

    values = {"data": parts, "out": tmp_path_factory.mktemp("runs"), "size": 64, "batch_size": 4}
    return fit_run("padim", build(fit_config("padim"), values, environment={}))[0].path


@pytest.fixture(scope="session")
def yard(tmp_path_factory) -> Path:
    """A bundle that watches a small yard, and films of it; do not change them."""
    from tests.watching.yard import make_yard

    return make_yard(tmp_path_factory.mktemp("yard"))


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """The tiny detectors as another package would bring them, also to programs that are started."""
    folder = tmp_path / "plugins"
    (folder / "tiny-1.dist-info").mkdir(parents=True)
    (folder / "tiny-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (folder / "tiny-1.dist-info" / "entry_points.txt").write_text(_POINTS)
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(str(folder))
    paths = (str(folder), str(root), os.environ.get("PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    registry._entries.cache_clear()
    yield folder
    registry._entries.cache_clear()


@pytest.fixture(scope="session")
def killed():
    """Name the unfinished file of a path as a program that was killed would have."""
    from offnormal.files import hidden_sibling

    process = subprocess.Popen(["sleep", "0"])
    process.wait()

    def name(path: Path, suffix: str) -> Path:
        ours = hidden_sibling(path, suffix)
        return ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{process.pid}-"))

    return name


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of 30 small normal pictures, smooth and alike; do not change it."""
    folder = tmp_path_factory.mktemp("normals")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for number in range(30):
        shift = rng.normal(0, 1, 2)
        image = 120 + 80 * np.sin((x + shift[0]) / 4) * np.cos((y + shift[1]) / 5) + rng.normal(0, 3, (16, 16))
        Image.fromarray(np.stack([image, image * 0.8, image * 0.6], -1).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number:03}.png"
        )
    return folder


@pytest.fixture(scope="session")
def plain(pictures, tmp_path_factory) -> Path:
    """Run folder of the cheapest detector, fitted on `pictures`; do not change it."""
    from offnormal import api

    return api.fit("pixel_gaussian", pictures, out=tmp_path_factory.mktemp("plain"), size=16, device="cpu").path
