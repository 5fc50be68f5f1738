"""Trees in their published form are recognized without a layout and read with the right counts."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offnormal import registry
from offnormal.data.loaders import open_loader
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from offnormal.types import InputSpec, Resize
from tests.data import published


def counts(dataset):
    labels = [item.label for item in dataset.test]
    masks = sum(item.masks is not None for item in dataset.test)
    return dataset.layout, len(dataset.train), len(dataset.calibration), labels.count(0), labels.count(1), masks


@pytest.mark.parametrize("write", published.COUNTS, ids=lambda write: write.__name__)
def test_a_tree_is_recognized_and_counted(write, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    write(root)
    layouts = registry.resolve_all("layouts").items()
    takers = [name for name, layout in layouts if name not in ("videos", "folder") and layout.recognizes(root)]
    assert takers == [published.COUNTS[write][0]]
    category = published.CATEGORIES.get(write.__name__)
    datasets = open_datasets(root, category="all") if category else open_datasets(root)
    assert [counts(dataset) for dataset in datasets] == [published.COUNTS[write]] * len(datasets)
    for dataset in datasets:
        items = (*dataset.train, *dataset.calibration, *dataset.test)
        assert all(item.path.is_file() for item in items) and not any(item.label for item in dataset.train)
        if category:  # the folder of a category is a dataset, too
            (alone,) = open_datasets(dataset.root)
            assert counts(alone) == counts(dataset)
            assert [item.name for item in alone.test] == [item.name for item in dataset.test]


@pytest.mark.parametrize(
    ("write", "marked"),
    [(published.visa, 12), (published.ok_ng, 12), (published.mvtec_loco, 24), (published.kolektor_sdd2, 12)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_value_above_zero_and_every_mask_of_an_image_is_marked(write, marked, tmp_path):
    write(tmp_path)
    (dataset,) = open_datasets(tmp_path, category=published.CATEGORIES.get(write.__name__))
    anomalous = [item for item in dataset.test if item.label]
    spec = InputSpec(size=(12, 16), resize=Resize(policy="stretch"))
    masks = np.concatenate([batch.masks for batch in open_loader(anomalous, spec, batch_size=8, masks=True)])
    assert masks.reshape(len(anomalous), -1).sum(1).tolist() == [marked] * len(anomalous)


def test_visa_without_its_split_learns_from_every_normal_image(tmp_path, caplog):
    published.visa(tmp_path, split=False)
    (dataset,) = open_datasets(tmp_path, category="candle")
    assert counts(dataset) == ("visa", 6, 0, 0, 3, 3)
    assert "no split" in caplog.text


def test_images_missing_from_visas_folder_or_split_are_named(tmp_path, caplog):
    published.visa(tmp_path)
    published.image(tmp_path / "candle/Data/Images/Normal/9999.JPG")
    assert counts(open_datasets(tmp_path / "candle")[0])[1:4] == (4, 0, 2)
    assert "1 image not in split_csv/1cls.csv" in caplog.text
    (tmp_path / "candle/Data/Images/Normal/0000.JPG").unlink()
    with pytest.raises(DataError, match=r"1 image of split_csv/1cls.csv missing, such as .*0000\.JPG"):
        open_datasets(tmp_path / "candle")


def test_one_resolution_of_real_iad_and_other_places_of_its_files(tmp_path):
    published.real_iad(tmp_path)
    expected = published.COUNTS[published.real_iad]
    assert counts(open_datasets(tmp_path / "realiad_1024", category="zipper")[0]) == expected
    assert counts(open_datasets(tmp_path / "realiad_1024/zipper")[0]) == expected
    shutil.move(tmp_path / "realiad_jsons", tmp_path / "deeper")
    (tmp_path / "realiad_jsons").mkdir()
    shutil.move(tmp_path / "deeper", tmp_path / "realiad_jsons/realiad_jsons")
    (dataset,) = open_datasets(tmp_path, category="zipper")
    assert counts(dataset) == expected
    assert {item.class_name for item in dataset.test} == {"good", "BX", "HS"}


def test_the_views_of_a_part_of_real_iad_are_one_group(tmp_path):
    published.real_iad(tmp_path)
    (dataset,) = open_datasets(tmp_path, category="zipper")
    assert [item.group for item in dataset.train] == ["S0000", "S0001", "S0002", "S0003"]
    assert {item.group for item in dataset.test if item.label} == {"S0006", "S0007", "S0008"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"image_path": "OK/S0000', '"image_path": "../OK/S0000', "expected paths below"),
        ('"image_path": "OK/S0000', '"image_path": "OK/S9999', "1 file of zipper.json missing, such as OK/S9999"),
        ('"anomaly_class": "OK"', '"class": "OK"', r"train.0.anomaly_class Field required"),
        ("{", "[", "zipper.json: "),
    ],
)
def test_a_json_file_that_is_not_as_expected(tmp_path, old, new, message):
    published.real_iad(tmp_path)
    file = tmp_path / "realiad_jsons/zipper.json"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        open_datasets(tmp_path, category="zipper")


def test_anomalous_training_images_of_real_iads_noisy_splits_are_left_out(tmp_path, caplog):
    published.real_iad(tmp_path)
    file = tmp_path / "realiad_jsons/zipper.json"
    file.write_text(file.read_text().replace('"anomaly_class": "OK"', '"anomaly_class": "BX"', 1))
    (dataset,) = open_datasets(tmp_path, category="zipper")
    assert len(dataset.train) == 3
    assert "1 anomalous image in train" in caplog.text


def test_a_commutator_is_one_group(tmp_path):
    published.kolektor_sdd(tmp_path)
    (dataset,) = open_datasets(tmp_path)
    assert {item.group for item in dataset.train} == {"kos01", "kos02", "kos04", "kos05"}
    (tmp_path / "kos05/Part1_label.bmp").unlink()
    with pytest.raises(DataError, match=r"Part1\.jpg: no mask; expected Part1_label with"):
        open_datasets(tmp_path)


def test_an_image_of_kolektor_without_truth_is_named(tmp_path):
    published.kolektor_sdd2(tmp_path)
    (tmp_path / "test/20001_GT.png").unlink()
    with pytest.raises(DataError, match=r"20001\.png: no mask; expected 20001_GT with"):
        open_datasets(tmp_path)


def test_ok_and_ng_in_other_words_if_the_layout_is_named(tmp_path):
    published.ok_ng(tmp_path)
    for old, new in (("OK", "gut"), ("NG", "Ausschuss"), ("MASK", "Masken")):
        (tmp_path / old).rename(tmp_path / new)
    (dataset,) = open_datasets(tmp_path, layout="ok_ng")
    assert counts(dataset) == published.COUNTS[published.ok_ng]
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="not the ok_ng layout"):
        open_datasets(tmp_path, layout="ok_ng")


def test_folders_beside_ok_and_ng_that_say_neither_are_skipped(tmp_path, caplog):
    published.ok_ng(tmp_path)
    published.images(tmp_path / "backup", 2)
    published.images(tmp_path / "test_rig", 1)
    published.images(tmp_path / "NG_rework", 1, first=50)
    (tmp_path / "docs").mkdir()
    (dataset,) = open_datasets(tmp_path)
    assert counts(dataset)[:1] + counts(dataset)[4:] == ("ok_ng", 4, 3)
    assert [skip.path.parent.name for skip in dataset.skipped] == ["backup", "backup", "test_rig"]
    assert "says neither normal nor anomalous: backup, test_rig" in caplog.text


def test_masks_of_different_sizes_for_one_image_are_refused(tmp_path):
    from offnormal.errors import ImageError
    from offnormal.sources.mask import open_mask

    published.mask(tmp_path / "1.png")
    published.Image.new("L", (3, 3)).save(tmp_path / "2.png")
    with pytest.raises(ImageError, match="2 masks of different sizes"):
        open_mask(tmp_path)


def test_the_path_of_a_tree_does_not_matter(tmp_path, monkeypatch):
    published.visa(tmp_path / "VisA")
    monkeypatch.chdir(tmp_path / "VisA/candle")
    (dataset,) = open_datasets(Path())
    assert counts(replace(dataset)) == published.COUNTS[published.visa]
