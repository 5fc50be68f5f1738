"""Files with several pages or frames, from fit to predict, evaluate, and watch."""

import csv

import numpy as np
import pytest
from PIL import Image

import offnormal
from offnormal.cli.main import run as program
from tests.sources.deep_files import write_tiff

RNG = np.random.default_rng(0)


def page(is_bad=False):
    values = 100 + RNG.normal(0, 3, (24, 32, 3))
    if is_bad:
        values[8:16, 8:16] += 60
    return values.round().astype("u1")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    (root / "good").mkdir()
    write_tiff(root / "good/lot.tif", *(page() for _ in range(30)))
    run = offnormal.fit("pixel_gaussian", normal=root / "good", size="24x32", out=root / "runs", workers=1, rate=0.1)
    return run.bundle


def save_frames(path, *frames):
    if path.suffix == ".tif":
        write_tiff(path, *frames)
    else:
        first, *others = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=others, **({"lossless": True} if path.suffix == ".webp" else {}))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_a_bad_second_page_is_anomalous(bundle, tmp_path, suffix, capsys):
    save_frames(tmp_path / f"x{suffix}", page(), page(is_bad=True), page())
    table, maps = tmp_path / "x.csv", tmp_path / "maps"
    outputs = ["--csv", str(table), "--overlays", str(maps), "--exit-code"]
    code = program(["predict", str(bundle.path), str(tmp_path / f"x{suffix}"), *outputs])
    rows = list(csv.DictReader(table.open()))
    assert code == 3
    assert [row["item"] for row in rows] == [f"{tmp_path / 'x'}{suffix}[{number}]" for number in (1, 2, 3)]
    scores = [float(row["score"]) for row in rows]
    assert rows[1]["verdict"] == "anomalous"
    assert scores[1] > 2 * max(scores[0], scores[2])
    assert sorted(path.name for path in maps.glob("*.png")) == [f"x{suffix}[{number}].png" for number in (1, 2, 3)]
    assert f"x{suffix}[2]" in capsys.readouterr().out


def test_pages_are_evaluated_with_their_masks_and_shown_in_the_report(bundle, tmp_path):
    for folder in ("test/good", "test/bad", "ground_truth/bad"):
        (tmp_path / folder).mkdir(parents=True)
    write_tiff(tmp_path / "test/good/a.tif", *(page() for _ in range(4)))
    write_tiff(tmp_path / "test/bad/b.tif", *(page(is_bad=True) for _ in range(4)))
    mask = np.zeros((24, 32), "u1")
    mask[8:16, 8:16] = 255
    write_tiff(tmp_path / "ground_truth/bad/b.tif", *[mask] * 4)
    evaluation = offnormal.evaluate(bundle, tmp_path, layout="mvtec")
    assert evaluation.metrics["image_AUROC"] == 1.0
    assert evaluation.metrics["pixel_AUROC"] > 0.95
    assert len(evaluation.table.items) == 8
