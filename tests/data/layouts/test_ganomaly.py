import pytest

from offnormal.data.layouts.ganomaly import GanomalyLayout
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.data.tree import draw

TREE = ("train/0.normal/1.png", "test/0.normal/1.png", "test/1.abnormal/1.png")


def test_the_tree(tmp_path):
    root = draw(tmp_path / "x rays", *TREE)
    assert GanomalyLayout.recognizes(root)
    assert GanomalyLayout.categories(root) == []
    dataset = GanomalyLayout.read(root)
    assert (dataset.name, dataset.layout, dataset.root, len(dataset.train)) == ("x rays", "ganomaly", root, 1)
    assert [(s.label, s.class_name, s.masks) for s in dataset.test] == [
        (NORMAL, "good", None),
        (ANOMALOUS, "1.abnormal", None),
    ]


def test_masks_are_optional(tmp_path):
    dataset = GanomalyLayout.read(draw(tmp_path, *TREE, "ground_truth/1.abnormal/1_mask.png"))
    assert dataset.test[1].masks.path == tmp_path / "ground_truth/1.abnormal/1_mask.png"


def test_train_or_test_may_be_missing(tmp_path):
    assert GanomalyLayout.read(draw(tmp_path / "a", *TREE[1:])).train == ()
    assert GanomalyLayout.read(draw(tmp_path / "b", *TREE[:1])).test == ()


def test_other_trees_and_categories_are_rejected(tmp_path):
    draw(tmp_path, "train/good/1.png")
    assert not GanomalyLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match=r"expected ROOT/train/0\.normal"):
        GanomalyLayout.read(tmp_path)
    with pytest.raises(DataError, match="has no categories"):
        GanomalyLayout.read(draw(tmp_path, *TREE), "xray")


def test_several_anomaly_types_and_subfolders_are_read(tmp_path):
    names = ("test/1.abnormal/day 1/a.jpg", "test/2.abnormal/b.JPG", "test/0.normal/day 1/c.bmp")
    dataset = GanomalyLayout.read(draw(tmp_path, *TREE[:1], "train/0.normal/day 2/d.png", *names))
    assert len(dataset.train) == 2
    assert [(s.label, s.class_name) for s in dataset.test] == [
        (NORMAL, "good"),
        (ANOMALOUS, "1.abnormal"),
        (ANOMALOUS, "2.abnormal"),
    ]


def test_anomalies_next_to_the_training_images_are_not_used(tmp_path):
    """Trees made for torchvision's ImageFolder often have every class in every part."""
    dataset = GanomalyLayout.read(draw(tmp_path, *TREE, "train/1.abnormal/2.png"))
    assert [s.path.parent.name for s in dataset.train] == ["0.normal"]
