import pytest

from offnormal.data.layouts.mvtec import MvtecLayout
from offnormal.errors import DataError
from offnormal.types import ANOMALOUS, NORMAL
from tests.data.tree import draw

TREE = (
    "train/good/0.png",
    "train/good/1.png",
    "test/good/0.png",
    "test/hole/0.png",
    "test/scratch/0.png",
    "ground_truth/hole/0_mask.png",
    "ground_truth/scratch/0_mask.png",
)


def test_one_category(tmp_path):
    root = draw(tmp_path / "bottle ß", *TREE)
    assert MvtecLayout.recognizes(root)
    assert MvtecLayout.categories(root) == []
    dataset = MvtecLayout.read(root)
    assert (dataset.name, dataset.layout, dataset.root, dataset.category) == ("bottle ß", "mvtec", root, None)
    assert [sample.path.name for sample in dataset.train] == ["0.png", "1.png"]
    assert [(s.label, s.class_name, s.masks and s.masks.path.name) for s in dataset.test] == [
        (NORMAL, "good", None),
        (ANOMALOUS, "hole", "0_mask.png"),
        (ANOMALOUS, "scratch", "0_mask.png"),
    ]


def test_without_ground_truth_there_are_no_masks(tmp_path):
    dataset = MvtecLayout.read(draw(tmp_path, *TREE[:5]))
    assert [sample.masks for sample in dataset.test] == [None] * 3


def test_train_or_test_may_be_missing(tmp_path):
    assert MvtecLayout.read(draw(tmp_path / "a", *TREE[2:])).train == ()
    assert MvtecLayout.read(draw(tmp_path / "b", *TREE[:2])).test == ()


def test_an_empty_train_folder_gives_no_samples(tmp_path):
    (tmp_path / "train/good").mkdir(parents=True)
    assert MvtecLayout.read(tmp_path).train == ()


def test_a_single_category_can_be_selected_by_its_name(tmp_path, monkeypatch):
    from pathlib import Path

    root = draw(tmp_path / "bottle", *TREE)
    assert MvtecLayout.read(root, "bottle").category is None
    monkeypatch.chdir(root)
    assert MvtecLayout.read(Path(), "bottle").name == "bottle"
    with pytest.raises(DataError, match="no category 'screw'; available: none"):
        MvtecLayout.read(root, "screw")


def test_several_categories_next_to_other_folders(tmp_path):
    for name in ("nut2", "nut10"):
        draw(tmp_path / name, *TREE)
    draw(tmp_path, "docs/1.png", ".trash/train/good/1.png")
    assert MvtecLayout.categories(tmp_path) == ["nut2", "nut10"]
    dataset = MvtecLayout.read(tmp_path, "nut10")
    assert (dataset.name, dataset.category, len(dataset.train)) == ("nut10", "nut10", 2)


def test_categories_that_are_links_keep_their_names(tmp_path):
    draw(tmp_path / "store/v1", *TREE)
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "store/v1", target_is_directory=True)
    assert [MvtecLayout.read(tmp_path / "set", name).name for name in ("a", "b")] == ["a", "b"]


def test_other_trees_are_rejected_with_the_expected_tree(tmp_path):
    draw(tmp_path, "train/fine/1.png")
    assert not MvtecLayout.recognizes(tmp_path)
    with pytest.raises(DataError, match="not the mvtec layout; expected CATEGORY/train/good"):
        MvtecLayout.read(tmp_path)


def test_masks_in_a_folder_of_another_name_are_read(tmp_path):
    draw(tmp_path, "train/good/1.png", "test/good/1.png", "test/hole/2.png", "Masks/hole/2.png")
    assert MvtecLayout.read(tmp_path).test[1].masks.path == tmp_path / "Masks/hole/2.png"


def test_training_images_without_a_folder_of_normal_ones_and_a_shorter_name_of_validation(tmp_path):
    draw(tmp_path, "train/1.png", "train/lot 2/2.png", "val/good/3.png", "test/good/1.png", "test/hole/2.png")
    dataset = MvtecLayout.read(tmp_path)
    assert [item.name for item in dataset.train] == ["train/1.png", "train/lot 2/2.png"]
    assert [item.name for item in dataset.calibration] == ["val/good/3.png"]


def test_other_training_images_are_not_used_and_named(tmp_path, caplog):
    draw(tmp_path, "train/good/1.png", "train/NG/2.png", "train/3.png", "test/good/1.png")
    assert [item.name for item in MvtecLayout.read(tmp_path).train] == ["train/good/1.png"]
    assert "train: not used: 3.png, NG; expected normal images in" in caplog.text
    draw(tmp_path / "b", "train/fine/1.png", "train/NG_front/2.png", "test/good/1.png")
    assert MvtecLayout.read(tmp_path / "b").train == ()
    assert "NG_front: 1 file (anomalous)" in caplog.text
