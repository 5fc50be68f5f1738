from contextlib import contextmanager

import numpy as np
from PIL import Image

from offnormal.testing import check_detector, check_layout, check_sink
from offnormal.testing.scenes import draw_part


def test_detector(tmp_path):
    check_detector("color_grid", tmp_path, size=32, batch_size=4)
    check_detector("color_grid", tmp_path / "wide", size="32x48", options={"cells": 8}, batch_size=4)


def write_lots(root):
    """Write the smallest complete tree: lots 1 and 2 for training, lot 10 for testing."""
    rng = np.random.default_rng(0)
    for lot in (1, 2, 10):
        for folder in ("ok", "ng"):
            (root / f"lot-{lot}" / folder).mkdir(parents=True)
            for number in range(2):
                image, _ = draw_part(rng, defect=folder == "ng")
                Image.fromarray(image).save(root / f"lot-{lot}" / folder / f"{number}.png")


def test_layout(tmp_path):
    check_layout("lots", write_lots, tmp_path)


@contextmanager
def blocked(path):
    """Put a folder in place of the file, so that nothing can be delivered."""
    aside = path.with_name("aside")
    if path.exists():
        path.rename(aside)
    path.mkdir()
    yield
    path.rmdir()
    if aside.exists():
        aside.rename(path)


def test_sink(tmp_path):
    path = tmp_path / "logbook.txt"
    check_sink(
        "logbook",
        tmp_path / "checks",
        options={"path": path},
        received=lambda: [line.split()[-1] for line in path.read_text().splitlines()] if path.exists() else [],
        outage=lambda: blocked(path),
    )
